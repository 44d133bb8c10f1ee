//! The libraries a program is linked to, as a loader finds them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The loader and the libraries of a program of this machine, which has them all: it was built here.
/// None for a program that is linked statically.
pub(crate) fn of(program: &Path) -> Result<Vec<PathBuf>> {
    let mut ldd = Command::new("ldd");
    ldd.env("LC_ALL", "C").arg(program);
    listed(&mut ldd).with_context(|| format!("the libraries of {}", program.display()))
}

/// What `ldd`, or a loader asked to `--list`, says is needed. The program itself does not run.
pub(crate) fn listed(loader: &mut Command) -> Result<Vec<PathBuf>> {
    let output =
        loader.output().with_context(|| format!("cannot start {:?}", loader.get_program()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    ensure!(
        output.status.success() && !said.contains("not found"),
        "a library is lacking:\n{said}{complaint}"
    );
    Ok(said.lines().filter_map(path).collect())
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or the loader, `/lib64/ld-… (0x…)`. What
/// the kernel brings has no path.
fn path(line: &str) -> Option<PathBuf> {
    let (line, _) = line.split_once(" (")?;
    let path = line.split_once(" => ").map_or(line, |(_, path)| path).trim();
    path.starts_with('/').then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_loader_are_read() {
        let said = |line| path(line).map(|path| path.display().to_string());
        assert_eq!(
            said("\tlibm.so.6 => /lib/x/libm.so.6 (0x7f)").as_deref(),
            Some("/lib/x/libm.so.6")
        );
        assert_eq!(said("\t/lib64/ld-linux.so.2 (0x7f)").as_deref(), Some("/lib64/ld-linux.so.2"));
        assert_eq!(said("\tlinux-vdso.so.1 (0x7f)"), None);
        assert_eq!(said("\tstatically linked"), None);
    }

    #[test]
    fn a_library_that_is_lacking_is_named() {
        let mut loader = Command::new("echo");
        let error = listed(loader.arg("libgone.so => not found")).expect_err("it lacks");
        assert!(format!("{error:#}").contains("libgone.so"), "{error:#}");
    }

    #[test]
    fn this_program_has_libraries_that_are_there() {
        let this = std::env::current_exe().expect("a test has a program");
        for library in of(&this).expect("ldd knows it") {
            assert!(library.is_file(), "{}", library.display());
        }
    }
}
