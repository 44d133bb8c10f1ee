//! Catalogues of refusals, read from the source.
//!
//! Two forms are known: statics written out (`pub static NAME: Code = Code { … };`), and a macro
//! `codes! { NAME = 201, "name": "sentence"; "remedy"; "page"; }`. A name in `CATALOGUE` that is
//! in neither form is an entry without anything, so that none is passed over.

use std::ops::Range;

use crate::tidy::source::{Source, bracketed, words};
use crate::tidy::tree::Tree;

/// What an entry has in words.
pub(super) const FIELDS: [&str; 4] = ["name", "sentence", "remedy", "page"];

/// An entry of a catalogue, as it stands in the source.
pub(super) struct Entry<'a> {
    pub(super) path: &'a str,
    pub(super) line: usize,
    pub(super) crate_name: &'a str,
    /// What its static is called.
    pub(super) name: &'a str,
    pub(super) number: Option<u16>,
    /// Those of [`FIELDS`] that are missing or say nothing.
    pub(super) silent: Vec<&'static str>,
    /// Whether `CATALOGUE` has it.
    pub(super) listed: bool,
}

/// The entries of every catalogue.
pub(super) fn entries(tree: &Tree) -> Vec<Entry<'_>> {
    let catalogues = tree.sources().filter_map(|(path, source)| {
        // `crates/ledger/src/refusals.rs` is a catalogue, and `ledger` is whose.
        let crate_name = path.strip_prefix("crates/")?.strip_suffix("/src/refusals.rs")?;
        Some(Catalogue { path, crate_name, source })
    });
    catalogues.flat_map(|catalogue| catalogue.entries()).collect()
}

struct Catalogue<'a> {
    path: &'a str,
    crate_name: &'a str,
    source: &'a Source,
}

impl<'a> Catalogue<'a> {
    fn entries(&self) -> Vec<Entry<'a>> {
        let mut entries = self.written_out();
        entries.extend(self.by_macro());
        let code = self.source.code();
        let listed = self.listed();
        for entry in &mut entries {
            entry.listed = words(&code[listed.clone()]).any(|word| word == entry.name);
        }
        let unseen: Vec<&str> = words(&code[listed.clone()])
            .filter(|word| entries.iter().all(|entry| entry.name != *word))
            .collect();
        entries.extend(unseen.into_iter().map(|name| Entry {
            listed: true,
            ..self.entry(name, listed.start, None, FIELDS.to_vec())
        }));
        entries
    }

    fn entry(
        &self,
        name: &'a str,
        at: usize,
        number: Option<u16>,
        silent: Vec<&'static str>,
    ) -> Entry<'a> {
        let Self { path, crate_name, source } = self;
        Entry { path, line: source.line_of(at), crate_name, name, number, silent, listed: false }
    }

    /// What stands between the brackets of `CATALOGUE`.
    fn listed(&self) -> Range<usize> {
        let code = self.source.code();
        let brackets = || {
            let start = code.find("CATALOGUE")?;
            let value = start + code[start..].find('=')?;
            bracketed(code, value + code[value..].find('[')?)
        };
        brackets().unwrap_or(0..0)
    }

    fn written_out(&self) -> Vec<Entry<'a>> {
        let code = self.source.code();
        let mut entries = Vec::new();
        for (at, mark) in code.match_indices(": Code") {
            let value = code[at + mark.len()..].trim_start();
            let value =
                value.strip_prefix('=').and_then(|rest| rest.trim_start().strip_prefix("Code"));
            let Some(value) = value.filter(|rest| rest.trim_start().starts_with('{')) else {
                continue;
            };
            let Some(name) = words(&code[..at]).last().filter(|name| is_static(name)) else {
                continue;
            };
            let open = code.len() - value.trim_start().len();
            let body = bracketed(code, open).unwrap_or(open..code.len());
            let says = |name: &str| {
                let value = field(&code[body.clone()], name);
                value.is_some_and(|value| says(&self.source.text()[body.start + value..body.end]))
            };
            let number = field(&code[body.clone()], "number");
            let number = number.and_then(|value| number_at(&code[body.start + value..body.end]));
            let silent = FIELDS.into_iter().filter(|name| !says(name)).collect();
            entries.push(self.entry(name, at, number, silent));
        }
        entries
    }

    fn by_macro(&self) -> Vec<Entry<'a>> {
        const MARK: &str = "codes! {";
        let code = self.source.code();
        let starts =
            code.match_indices(MARK).filter(|(at, _)| !code[..*at].ends_with("macro_rules! "));
        let bodies = starts.filter_map(|(at, _)| bracketed(code, at + MARK.len() - 1));
        bodies.flat_map(|body| self.by_macro_in(body)).collect()
    }

    fn by_macro_in(&self, body: Range<usize>) -> Vec<Entry<'a>> {
        let (code, text) = (self.source.code(), self.source.text());
        let mut entries = Vec::new();
        let mut start = body.start + 1;
        let mut parts = code[start..body.end - 1].split(';');
        while let (Some(head), Some(remedy), Some(page)) =
            (parts.next(), parts.next(), parts.next())
        {
            let remedy_at = start + head.len() + 1;
            let page_at = remedy_at + remedy.len() + 1;
            if let Some(name) = words(head).find(|word| is_static(word)) {
                let at = start + head.find(name).unwrap_or_default();
                let value = |mark: char| {
                    let index = code[at..remedy_at].find(mark).map(|index| at + index + 1);
                    index.map_or("", |index| &text[index..remedy_at])
                };
                let values =
                    [value(','), value(':'), &text[remedy_at..page_at], &text[page_at..body.end]];
                let silent = FIELDS.into_iter().zip(values).filter(|(_, value)| !says(value));
                let silent = silent.map(|(name, _)| name).collect();
                entries.push(self.entry(name, at, number_at(value('=')), silent));
            }
            start = page_at + page.len() + 1;
        }
        entries
    }
}

/// Whether this is how a static is called.
fn is_static(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_uppercase()) && word.to_uppercase() == word
}

fn number_at(value: &str) -> Option<u16> {
    words(value).next()?.parse().ok()
}

/// Where the value of a field starts in the body of a struct.
fn field(body: &str, name: &str) -> Option<usize> {
    let found = body.match_indices(name).find(|(at, _)| {
        let stands_alone = !body[..*at].ends_with(|before: char| before.is_alphanumeric());
        stands_alone && body[at + name.len()..].starts_with(':')
    });
    found.map(|(at, _)| at + name.len() + 1)
}

/// Whether the literal that `value` starts with has words in it.
fn says(value: &str) -> bool {
    let value = value.trim_start();
    let Some(inside) = value.strip_prefix('"') else {
        // `include_str!`, a constant: something is there.
        return value.starts_with(char::is_alphabetic);
    };
    let end = inside.find('"').unwrap_or(inside.len());
    inside[..end].chars().any(char::is_alphanumeric)
}
