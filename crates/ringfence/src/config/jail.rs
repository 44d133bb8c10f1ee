//! The keys of a device that say how its backend and its fence are jailed.

use std::path::{Path, PathBuf};

use super::reader::Table;
use crate::refusals;

/// How a device's backend and fence are jailed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JailChoice {
    /// Whether they are.
    pub(crate) on: bool,
    /// Whether they do not begin without all of it.
    pub(crate) required: bool,
    /// Whether the backend may use the host's network.
    pub(crate) network: bool,
    /// What the backend may read and execute.
    pub(crate) readable: Vec<PathBuf>,
    /// What the backend may read and write.
    pub(crate) writable: Vec<PathBuf>,
}

pub(super) fn decode(table: &Table<'_>, folder: &Path) -> JailChoice {
    let on = table.choice("jail", &[("on", true), ("off", false)]).unwrap_or(true);
    let required = table.switch("jail_require").unwrap_or(false);
    if required && !on {
        let detail = "`jail_require`: there is no jail to require with `jail = \"off\"`".to_owned();
        table.report(&table.span(), &refusals::KEYS_EXCLUDE, detail);
    }
    let network = table.switch("network").unwrap_or(false);
    let readable = paths(table, "readable", folder);
    let writable = paths(table, "writable", folder);
    // What somebody else started cannot be jailed any more.
    for key in ["network", "readable", "writable"] {
        if table.has(key) && table.has("backend_socket") {
            let detail = format!("`{key}` is for a `backend` that is started, not a socket");
            table.report(&table.span(), &refusals::KEYS_EXCLUDE, detail);
        }
    }
    JailChoice { on, required, network, readable, writable }
}

/// The paths listed at `key`, relative to `folder`: each is there.
fn paths(table: &Table<'_>, key: &'static str, folder: &Path) -> Vec<PathBuf> {
    let Some(texts) = table.texts(key) else { return Vec::new() };
    let mut paths = Vec::new();
    for text in &texts.value {
        let path = folder.join(text.value.replace("{here}", &folder.to_string_lossy()));
        if !path.exists() {
            let detail = format!("`{key}`: {} is not there", path.display());
            table.report(&text.span, &refusals::FILE_NOT_THERE, detail);
        }
        paths.push(path);
    }
    paths
}
