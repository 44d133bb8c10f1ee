//! Running the program, in a runtime folder and a process group of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder for one test, removed with everything in it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rf-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where runs have their folders.
    pub(crate) fn runs(&self) -> PathBuf {
        self.0.join("ringfence")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file for the test");
        path
    }

    /// Adds to the last table of `vm.toml`.
    pub(crate) fn configure(&self, more: &str) {
        let text = std::fs::read_to_string(self.0.join("vm.toml")).expect("it was written");
        self.write("vm.toml", &format!("{text}{more}"));
    }

    /// An executable script.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write(name, &format!("#!/bin/sh\n{text}\n"));
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("an executable file");
        path
    }

    /// The program, to be run with this folder for its runs.
    pub(crate) fn ringfence(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.args(arguments).current_dir(&self.0).stdin(Stdio::null());
        command.env("XDG_RUNTIME_DIR", &self.0).env_remove("CLICOLOR_FORCE");
        command
    }

    /// Nothing of any run is left: no folder and no process that has this folder in its arguments
    /// or environment, as everything started here has.
    pub(crate) fn assert_nothing_left(&self) {
        let left: Vec<_> = match std::fs::read_dir(self.runs()) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => Vec::new(),
        };
        assert!(left.is_empty(), "left behind: {left:?}");
        // The kernel may take a moment to end what was killed.
        for _ in 0..500 {
            if self.processes().is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("still running: {:?}", self.processes());
    }

    /// Command lines of processes that know this folder.
    pub(crate) fn processes(&self) -> Vec<String> {
        let needle = self.0.to_string_lossy().into_owned();
        let own = std::process::id().to_string();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let read = |file: &str| {
                let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let is_process = entry.file_name().to_string_lossy().parse::<u32>().is_ok();
            if !is_process || entry.file_name().to_string_lossy() == own {
                continue;
            }
            let (arguments, environment) = (read("cmdline"), read("environ"));
            if arguments.contains(&needle) || environment.contains(&needle) {
                found.push(format!("{} {arguments}", entry.file_name().to_string_lossy()));
            }
        }
        found
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a run of the program gave.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs it to its end.
pub(crate) fn outcome(command: &mut Command) -> Outcome {
    Outcome::from(command.output().expect("the program can be started"))
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
