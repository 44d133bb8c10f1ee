//! Where a program is, decided before anything is started.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use ringfence_refusal::Refusal;
use rustix::fs::{Access, access};

use crate::refusals;

/// Finds `program` the way a shell would: as a path if it has a slash, else along `PATH`.
pub fn find(program: &OsStr) -> Result<PathBuf, Refusal> {
    find_along(program, &std::env::var_os("PATH").unwrap_or_default())
}

fn find_along(program: &OsStr, search_path: &OsStr) -> Result<PathBuf, Refusal> {
    if program.is_empty() {
        return Err(Refusal::new(&refusals::PROGRAM_NOT_FOUND, "the program's name is empty"));
    }
    if program.as_encoded_bytes().contains(&b'/') {
        let path = std::path::absolute(program).unwrap_or_else(|_| PathBuf::from(program));
        return match why_not_executable(&path) {
            None => Ok(path),
            Some(reason) => Err(refuse(&path.display(), reason)),
        };
    }
    std::env::split_paths(search_path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_absolute() && why_not_executable(path).is_none())
        .ok_or_else(|| {
            refuse(
                &Path::new(program).display(),
                &format!("not in any folder of PATH ({})", Path::new(search_path).display()),
            )
        })
}

fn why_not_executable(path: &Path) -> Option<&'static str> {
    if !path.exists() {
        Some("there is no such file")
    } else if !path.is_file() {
        Some("that is not a file")
    } else if access(path, Access::EXEC_OK).is_err() {
        Some("that file may not be executed")
    } else {
        None
    }
}

fn refuse(program: &dyn std::fmt::Display, reason: &str) -> Refusal {
    Refusal::new(&refusals::PROGRAM_NOT_FOUND, format!("{program}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(outcome: Result<PathBuf, Refusal>) -> String {
        match outcome {
            Ok(path) => path.display().to_string(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn a_bare_name_is_looked_for_along_the_path() {
        assert_eq!(text(find_along(OsStr::new("sh"), OsStr::new("/nowhere:/bin"))), "/bin/sh");
        assert_eq!(
            text(find_along(OsStr::new("no-such-program"), OsStr::new("/nowhere:/bin"))),
            "RF0301 program not found: no-such-program: not in any folder of PATH (/nowhere:/bin)"
        );
    }

    #[test]
    fn a_path_must_be_a_file_that_may_be_executed() {
        let nowhere = OsStr::new("");
        assert_eq!(text(find_along(OsStr::new("/bin/sh"), nowhere)), "/bin/sh");
        assert_eq!(
            text(find_along(OsStr::new("/nowhere/qemu"), nowhere)),
            "RF0301 program not found: /nowhere/qemu: there is no such file"
        );
        assert_eq!(
            text(find_along(OsStr::new("/bin/"), nowhere)),
            "RF0301 program not found: /bin/: that is not a file"
        );
        assert_eq!(
            text(find_along(OsStr::new("/proc/self/status"), nowhere)),
            "RF0301 program not found: /proc/self/status: that file may not be executed"
        );
        assert!(text(find_along(nowhere, nowhere)).starts_with("RF0301"));
    }

    #[test]
    fn relative_folders_of_the_path_are_not_searched() {
        // "." in PATH would let the current folder choose what runs.
        assert!(find_along(OsStr::new("sh"), OsStr::new("bin:.::")).is_err());
    }
}
