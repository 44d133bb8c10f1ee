//! Unmodified vhost-user backends as fixtures: started, waited for, gone with the test.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ringfence_refusal::Failure;
use ringfence_vmm::child::{Child, Spec, describe_exit};
use ringfence_vmm::command_line::command_line;

use crate::repeat;
use crate::root::LabRoot;
use crate::scratch::Scratch;

/// A backend process that listens on a socket. Dropping it kills it.
#[derive(Debug)]
pub struct Backend {
    // First, so that the process is gone before its folder goes.
    child: Child,
    program: PathBuf,
    arguments: Vec<OsString>,
    socket: PathBuf,
    scratch: Scratch,
}

/// How long a backend may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

impl Backend {
    /// qemu-storage-daemon with these `--blockdev`s, exporting the node `disk` of theirs; `export`
    /// holds more options, such as `writable=on`.
    pub fn qemu_storage_daemon(lab: &LabRoot, blockdevs: &[&str], export: &str) -> Result<Self> {
        Self::start(lab.program("qemu-storage-daemon")?, "disk.sock", |socket| {
            let mut arguments: Vec<OsString> = Vec::new();
            for blockdev in blockdevs {
                arguments.extend(["--blockdev".into(), blockdev.into()]);
            }
            let separator = if export.is_empty() { "" } else { "," };
            arguments.push("--export".into());
            arguments.push(
                format!(
                    "type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={}\
                     {separator}{export}",
                    socket.display()
                )
                .into(),
            );
            arguments
        })
    }

    /// qemu-storage-daemon serving a raw image, writable.
    pub fn raw_disk(lab: &LabRoot, image: &Path) -> Result<Self> {
        let blockdev = format!("driver=file,node-name=disk,filename={}", image.display());
        Self::qemu_storage_daemon(lab, &[&blockdev], "writable=on")
    }

    /// vhost-device-rng, fed from the host's random numbers.
    pub fn vhost_device_rng(lab: &LabRoot) -> Result<Self> {
        // It appends the number of the socket to the path it is given.
        Self::start(lab.program("vhost-device-rng")?, "rng.sock0", |socket| {
            let base = socket.to_string_lossy().trim_end_matches('0').to_owned();
            let words = ["-c", "1", "-m", "1000000", "-p", "1000", "-f", "/dev/urandom"];
            let mut arguments = vec![OsString::from("--socket-path"), base.into()];
            arguments.extend(words.map(OsString::from));
            arguments
        })
    }

    /// Any program that listens on the socket it is told about; `name` is the socket's file name.
    pub fn start(
        program: impl Into<PathBuf>,
        name: &str,
        arguments: impl FnOnce(&Path) -> Vec<OsString>,
    ) -> Result<Self> {
        let program = program.into();
        let scratch = Scratch::new()?;
        let socket = scratch.join(name);
        let arguments = arguments(&socket);
        let child = launch(&program, &arguments, &scratch)?;
        let mut backend = Self { child, program, arguments, socket, scratch };
        let command = command_line(&backend.program, &backend.arguments);
        repeat::backend_started(&backend.socket, command.clone());
        backend.wait_until_it_listens().with_context(|| {
            format!(
                "the backend did not come up; started as\n  {command}\nit said:\n{}",
                backend.log()
            )
        })?;
        Ok(backend)
    }

    /// Kills it, as a crash would, and starts its successor at the same socket.
    pub fn kill_and_succeed(&mut self) -> Result<()> {
        self.kill()?;
        // Whatever listens there from now on is the successor.
        let _ = fs::remove_file(&self.socket);
        self.child = launch(&self.program, &self.arguments, &self.scratch)?;
        self.wait_until_it_listens()
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.pid().as_raw_pid()
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.child.stop(Duration::ZERO)?;
        Ok(())
    }

    /// Ends it in good order, so that what it keeps in memory reaches its files.
    pub fn stop(mut self) -> Result<()> {
        self.child.stop(PATIENCE)?;
        Ok(())
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !listens(&self.socket)? {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {}", describe_exit(status));
            }
            if Instant::now() >= deadline {
                bail!("it did not listen on {} within {PATIENCE:?}", self.socket.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        repeat::backend_gone(&self.socket);
    }
}

fn launch(program: &Path, arguments: &[OsString], scratch: &Scratch) -> Result<Child> {
    let label = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    let mut spec = Spec::new(label, program).args(arguments.iter().cloned());
    let log = fs::File::options().create(true).append(true).open(scratch.join("log"))?;
    spec.stdout = Stdio::from(log.try_clone()?);
    spec.stderr = Stdio::from(log);
    Child::spawn(spec).map_err(|failure| match failure {
        Failure::Refused(refusal) => anyhow::Error::new(refusal),
        Failure::Faulted(fault) => anyhow::Error::new(fault),
    })
}

/// Whether a process listens on a socket, without connecting: a backend may take one client only.
pub(crate) fn listens(socket: &Path) -> Result<bool> {
    /// The kernel's flag of a listening socket.
    const ACCEPTS: &str = "00010000";
    let table = fs::read("/proc/net/unix").context("cannot read the list of Unix sockets")?;
    Ok(table.split(|byte| *byte == b'\n').any(|line| {
        line.ends_with(socket.as_os_str().as_bytes())
            && String::from_utf8_lossy(line).split_whitespace().nth(3) == Some(ACCEPTS)
    }))
}
