//! Where the machine itself gets Debian packages from: the mirror and the key that signs it.
//!
//! Both formats of apt's source lists are read. No host is ever written into this repository: the
//! lab downloads from wherever the machine it runs on is set up to download from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};

/// A Debian archive as the machine's own source lists name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// The `URIs` value, as written.
    pub(crate) uri: String,
    /// The `Signed-By` value, as written (a path, a fingerprint or a key over several lines).
    pub(crate) signed_by: Option<String>,
    /// The `Trusted` value, as written.
    pub(crate) trusted: Option<String>,
}

/// Suites that mark a source as Debian's main archive, not somebody's additional one.
const SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// The mirrors to try, best first, from the files `apt-config` names.
pub(crate) fn mirrors(list: &Path, parts: &Path) -> Result<Vec<Mirror>> {
    let mut found = Vec::new();
    for file in source_files(list, parts)? {
        let text = fs::read_to_string(&file)
            .with_context(|| format!("cannot read apt's source list {}", file.display()))?;
        let is_stanzas = file.extension().is_some_and(|extension| extension == "sources");
        let mirrors = if is_stanzas { from_stanzas(&text) } else { from_lines(&text) };
        for mirror in mirrors {
            if !found.contains(&mirror) {
                found.push(mirror);
            }
        }
    }
    if found.is_empty() {
        bail!(
            "no Debian mirror in {} or {}: add a source for Debian's main archive to apt's configuration",
            list.display(),
            parts.display()
        );
    }
    // A path that ends in `debian` is the archive's customary place.
    found.sort_by_key(|mirror| !mirror.uri.trim_end_matches('/').ends_with("/debian"));
    Ok(found)
}

fn source_files(list: &Path, parts: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if list.is_file() {
        files.push(list.to_owned());
    }
    let entries = match fs::read_dir(parts) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot list {}", parts.display()));
        }
    };
    let mut additional: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension().is_some_and(|extension| extension == "list" || extension == "sources")
        })
        .collect();
    additional.sort();
    files.append(&mut additional);
    Ok(files)
}

fn is_debian_archive<'a>(
    mut suites: impl Iterator<Item = &'a str>,
    mut components: impl Iterator<Item = &'a str>,
) -> bool {
    suites.any(|suite| SUITES.contains(&suite)) && components.any(|component| component == "main")
}

/// `Types: deb` stanzas (deb822).
fn from_stanzas(text: &str) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    for fields in stanzas(text) {
        let words = |name: &str| fields.get(name).map_or("", String::as_str).split_whitespace();
        let enabled =
            !matches!(fields.get("enabled").map(|value| value.trim()), Some("no" | "false"));
        if !enabled || !words("types").any(|word| word == "deb") {
            continue;
        }
        if !is_debian_archive(words("suites"), words("components")) {
            continue;
        }
        mirrors.extend(words("uris").map(|uri| Mirror {
            uri: uri.to_owned(),
            signed_by: fields.get("signed-by").cloned(),
            trusted: fields.get("trusted").cloned(),
        }));
    }
    mirrors
}

fn stanzas(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut all = Vec::new();
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            if !fields.is_empty() {
                all.push(std::mem::take(&mut fields));
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some(value) = fields.get_mut(&last) {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            last = name.trim().to_ascii_lowercase();
            fields.insert(last.clone(), value.trim().to_owned());
        }
    }
    all
}

/// `deb [options] uri suite components` lines.
fn from_lines(text: &str) -> Vec<Mirror> {
    text.lines().filter_map(from_line).collect()
}

fn from_line(line: &str) -> Option<Mirror> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let mut rest = line.strip_prefix("deb")?;
    rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let mut options = BTreeMap::new();
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (inside, after) = bracketed.split_once(']')?;
        for option in inside.split_whitespace() {
            if let Some((name, value)) = option.split_once('=') {
                options.insert(name.to_ascii_lowercase(), value.to_owned());
            }
        }
        rest = after;
    }
    let mut words = rest.split_whitespace();
    let uri = words.next()?.to_owned();
    let suite = words.next()?;
    is_debian_archive([suite].into_iter(), words).then(|| Mirror {
        uri,
        signed_by: options.remove("signed-by"),
        trusted: options.remove("trusted"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_gives_its_mirror_and_an_embedded_key_is_kept_whole() {
        let text = "\
# a comment\n\
Types: deb deb-src\n\
URIs: scheme://mirror/debian\n\
Suites: bookworm\n bookworm-updates\n\
Components: main\n\
Signed-By:\n -----BEGIN-----\n .\n abc\n -----END-----\n\
\n\
Types: deb\nURIs: scheme://mirror/security\nSuites: bookworm-security\nComponents: main\n\
\n\
Enabled: no\nTypes: deb\nURIs: scheme://off/debian\nSuites: trixie\nComponents: main\n";
        let mirrors = from_stanzas(text);
        assert_eq!(mirrors.len(), 1);
        assert_eq!(mirrors[0].uri, "scheme://mirror/debian");
        let key = mirrors[0].signed_by.as_deref().expect("the key is there");
        assert_eq!(key, "\n -----BEGIN-----\n .\n abc\n -----END-----");
    }

    #[test]
    fn a_line_gives_its_mirror_and_its_options() {
        let line =
            "deb [arch=amd64 signed-by=/k.gpg] scheme://mirror/debian trixie main contrib # x";
        let mirror = from_line(line).expect("a Debian source");
        assert_eq!(mirror.uri, "scheme://mirror/debian");
        assert_eq!(mirror.signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(mirror.trusted, None);
    }

    #[test]
    fn other_peoples_archives_and_comments_are_passed_over() {
        for line in [
            "# deb scheme://mirror/debian trixie main",
            "deb-src scheme://mirror/debian trixie main",
            "deb scheme://mirror/debian trixie-security main",
            "deb scheme://somebody/apt nodistro main",
            "deb [unclosed scheme://mirror/debian trixie main",
            "deb",
        ] {
            assert_eq!(from_line(line), None, "{line}");
        }
    }
}
