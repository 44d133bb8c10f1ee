//! What a backend is given in its jail: what it is started with, and what the configuration adds.
//!
//! A path that stands in the backend's command and is there was put there for the backend to use, so
//! it may read and write it, as far as the user who runs it may. A path that its program or a file
//! names in turn (a library in an unusual place, the backing file of an image) is not seen here and
//! is added with `readable` or `writable`.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use ringfence_jail::{Access, Grant, Profile};
use ringfence_vmm::program;

use crate::config::JailChoice;

/// What may stand around a path in an argument such as `driver=file,filename=/x`.
const SEPARATORS: [char; 8] = ['=', ',', ':', ';', '"', '\'', ' ', '@'];

/// How many pieces of one argument are tried; more is no command a person wrote.
const PIECES_MAX: usize = 64;

/// The jail of a backend that is started as `program` with `arguments` and makes its socket in
/// `folder`.
pub(super) fn profile(
    choice: &JailChoice,
    program: &OsStr,
    arguments: &[OsString],
    folder: &Path,
) -> Profile {
    let mut profile = Profile::for_program(choice.network);
    if let Ok(program) = program::find(program) {
        profile.grants.push(Grant::if_there(program, Access::EXECUTE));
    }
    let named = arguments.iter().flat_map(|argument| paths_in(&argument.to_string_lossy()));
    profile.grants.extend(named.map(|path| Grant::if_there(path, Access::WRITE)));
    profile.grants.extend(choice.readable.iter().map(|path| Grant::new(path, Access::EXECUTE)));
    profile.grants.extend(choice.writable.iter().map(|path| Grant::new(path, Access::WRITE)));
    // Made just before the backend is started.
    profile.grants.push(Grant::new(folder, Access::WRITE));
    if choice.required { profile.require_all() } else { profile }
}

/// The paths in an argument that are there and mean something in particular.
fn paths_in(argument: &str) -> Vec<PathBuf> {
    let starts = std::iter::once(0).chain(
        argument.char_indices().filter(|(_, c)| SEPARATORS.contains(c)).map(|(at, _)| at + 1),
    );
    let mut found = Vec::new();
    for start in starts.take(PIECES_MAX) {
        let rest = &argument[start..];
        // A path may have separators in it, so the longest that is there is the one meant.
        let ends = rest.char_indices().filter(|(_, c)| SEPARATORS.contains(c)).map(|(at, _)| at);
        let mut ends: Vec<_> = ends.take(PIECES_MAX).chain([rest.len()]).collect();
        ends.reverse();
        let pieces = ends.into_iter().map(|end| Path::new(&rest[..end]));
        found.extend(
            pieces
                .filter(|path| is_particular(path))
                .find(|path| path.exists())
                .map(Path::to_owned),
        );
    }
    found
}

/// Whether a path names something in particular: not a word that happens to be a file here, and not
/// a folder such as `/` or `/home`, which nobody means to give away whole by mentioning it.
fn is_particular(path: &Path) -> bool {
    let names = path.components().filter(|part| matches!(part, Component::Normal(_))).count();
    if path.is_absolute() {
        names >= 2
    } else {
        names >= 1 && path.to_string_lossy().contains(['/', '.'])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(argument: &str) -> Vec<String> {
        paths_in(argument).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn paths_are_found_wherever_they_stand() {
        for argument in [
            "/etc/passwd",
            "--file=/etc/passwd",
            "driver=file,filename=/etc/passwd,node-name=x",
            r#"{"driver": "file", "filename": "/etc/passwd"}"#,
            "fat:/etc/passwd",
        ] {
            assert_eq!(found(argument), ["/etc/passwd"], "{argument}");
        }
        assert_eq!(found("a=/etc/passwd,b=/etc/group"), ["/etc/passwd", "/etc/group"]);
        // Tests run in the crate's folder.
        assert_eq!(found("file=Cargo.toml,x=src/main.rs"), ["Cargo.toml", "src/main.rs"]);
    }

    #[test]
    fn what_is_not_there_or_nothing_in_particular_is_not_given() {
        for argument in
            ["/", "/home", "/etc", "src", "prefix=/", "x=/no/such", "..", ".", "../..", ""]
        {
            assert_eq!(found(argument), [""; 0], "{argument}");
        }
    }
}
