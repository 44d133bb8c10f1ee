//! Who serves a device: a command of ours to start, or a socket somebody else already serves.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::reader::Table;
use super::vm::program;
use crate::nearest::nearest;
use crate::refusals;

/// Who serves a device.
#[derive(Debug)]
pub(crate) enum Backend {
    /// A command to start. `{socket}` in its arguments stands for where it is to listen.
    Command {
        /// The program, a path or a name.
        program: OsString,
        /// Its arguments, `{socket}` not yet filled in.
        arguments: Vec<String>,
        /// What the backend appends to the path it is given, as the vhost-device family does.
        socket_suffix: String,
    },
    /// A socket that somebody serves already.
    Socket(PathBuf),
}

impl Backend {
    /// The command's arguments with the place to listen filled in.
    pub(crate) fn arguments(arguments: &[String], socket: &Path) -> Vec<OsString> {
        let socket = socket.to_string_lossy();
        arguments.iter().map(|text| text.replace(SOCKET, &socket).into()).collect()
    }

    /// What to call it in a table: the program's own name, or the socket.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Command { program, .. } => {
                let path = Path::new(program);
                path.file_name().unwrap_or(program).to_string_lossy().into_owned()
            }
            Self::Socket(path) => path.display().to_string(),
        }
    }
}

const SOCKET: &str = "{socket}";
const HERE: &str = "{here}";

pub(super) fn decode(table: &Table<'_>, folder: &Path) -> Option<Backend> {
    let command = table.texts("backend");
    let socket = table.text("backend_socket");
    let socket_suffix = socket_suffix(table);
    if table.has("backend") && table.has("backend_socket") {
        let span = socket.as_ref().map_or_else(|| table.span(), |socket| socket.span.clone());
        let detail = "`backend` and `backend_socket`: a device is served by one of them".to_owned();
        table.report(&span, &refusals::KEYS_EXCLUDE, detail);
        return None;
    }
    if !table.has("backend") && !table.has("backend_socket") {
        let detail = "[[device]] needs `backend`, a command as in [\"program\", \"{socket}\"], or \
                      `backend_socket`, the path of one that runs already";
        table.report(&table.span(), &refusals::MISSING_KEY, detail.to_owned());
        return None;
    }
    if let Some(socket) = socket {
        return Some(Backend::Socket(folder.join(fill_here(socket.value, folder))));
    }
    let command = command?;
    let Some((first, rest)) = command.value.split_first() else {
        let detail = "`backend` is empty; its first text is the program".to_owned();
        table.report(&command.span, &refusals::BAD_VALUE, detail);
        return None;
    };
    for text in &command.value {
        for wrong in unknown_placeholders(text.value) {
            let meant = nearest(wrong, ["socket", "here"])
                .map_or_else(String::new, |meant| format!("; did you mean `{{{meant}}}`?"));
            let detail = format!("`{{{wrong}}}` stands for nothing; {SOCKET} and {HERE} do{meant}");
            table.report(&text.span, &refusals::BAD_VALUE, detail);
        }
    }
    if !rest.iter().any(|text| text.value.contains(SOCKET)) {
        let detail = format!("no argument of `{}` contains {SOCKET}", first.value);
        table.report(&command.span, &refusals::NO_SOCKET, detail);
        return None;
    }
    Some(Backend::Command {
        program: program(first.value, folder),
        arguments: rest.iter().map(|text| fill_here(text.value, folder)).collect(),
        socket_suffix,
    })
}

/// It becomes part of a path, so it is plain.
fn socket_suffix(table: &Table<'_>) -> String {
    let Some(suffix) = table.text("socket_suffix") else { return String::new() };
    let plain = suffix.value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && (1..=8).contains(&suffix.value.len());
    let problem = if !plain {
        Some((&refusals::BAD_VALUE, "`socket_suffix` is 1 to 8 letters, digits, `-`, `_` and `.`"))
    } else if table.has("backend") {
        None
    } else {
        Some((&refusals::KEYS_EXCLUDE, "`socket_suffix` is for a `backend`, and there is none"))
    };
    if let Some((code, detail)) = problem {
        table.report(&suffix.span, code, detail.to_owned());
    }
    suffix.value.to_owned()
}

fn fill_here(text: &str, folder: &Path) -> String {
    text.replace(HERE, &folder.to_string_lossy())
}

/// Words in braces that look like ours and are not. Braces around anything else, such as JSON, are
/// the program's own business.
fn unknown_placeholders(text: &str) -> Vec<&str> {
    text.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(word, _)| word)
        .filter(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()))
        .filter(|word| ![HERE, SOCKET].contains(&format!("{{{word}}}").as_str()))
        .collect()
}
