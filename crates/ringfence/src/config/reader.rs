//! One table of the file, read key by key, so that what was not asked for is noticed.

use std::cell::{Cell, RefCell};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use ringfence_refusal::Code;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Page;
use crate::nearest::nearest;
use crate::refusals;
use crate::size::{self, Bytes};

/// A value and where it stands.
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table of the file.
pub(super) struct Table<'t> {
    page: &'t Page<'t>,
    /// What it is called in messages: `[vm]`.
    what: String,
    span: Range<usize>,
    entries: Vec<Entry<'t>>,
    asked: RefCell<Vec<&'static str>>,
}

struct Entry<'t> {
    key: &'t str,
    key_span: Range<usize>,
    value: &'t Spanned<DeValue<'t>>,
    taken: Cell<bool>,
}

impl<'t> Table<'t> {
    pub(super) fn new(
        page: &'t Page<'t>,
        what: impl Into<String>,
        span: Range<usize>,
        table: &'t DeTable<'t>,
    ) -> Self {
        let entries = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref(),
                key_span: key.span(),
                value,
                taken: Cell::new(false),
            })
            .collect();
        Self { page, what: what.into(), span, entries, asked: RefCell::default() }
    }

    /// Where the table begins.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Notes that what stands at `span` is wrong.
    pub(super) fn report(&self, span: &Range<usize>, code: &'static Code, detail: String) {
        self.page.report(span.clone(), code, detail);
    }

    /// The value of `key`, whatever it is.
    pub(super) fn take(&self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.borrow_mut().push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        entry.taken.set(true);
        Some(entry.value)
    }

    /// Whether `key` is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// `found`, or a problem that says the key is missing.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        found: Option<Found<T>>,
    ) -> Option<Found<T>> {
        // A value that is there and wrong has been reported already.
        if found.is_none() && !self.has(key) {
            let detail = format!("{} needs `{key}`, as in `{key} = {example}`", self.what);
            self.report(&self.span, &refusals::MISSING_KEY, detail);
        }
        found
    }

    /// The text at `key`.
    pub(super) fn text(&self, key: &'static str) -> Option<Found<&'t str>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Found { value: text.as_ref(), span: value.span() }),
            other => self.wrong_type(key, value.span(), "text in quotes", other),
        }
    }

    /// One of the words `choices` at `key`.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(key)?;
        let chosen = choices.iter().find(|(word, _)| *word == text.value);
        if chosen.is_none() {
            let words: Vec<_> = choices.iter().map(|&(word, _)| word).collect();
            let meant = did_you_mean(text.value, &words);
            let detail =
                format!("`{key}` is one of {}, not `{}`{meant}", words.join(", "), text.value);
            self.report(&text.span, &refusals::BAD_VALUE, detail);
        }
        chosen.map(|&(_, value)| value)
    }

    /// A size at `key`, within limits and a multiple of `step`.
    pub(super) fn size(
        &self,
        key: &'static str,
        limits: RangeInclusive<u64>,
        step: u64,
    ) -> Option<Found<u64>> {
        let value = self.take(key)?;
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) => {
                let number = number.as_str();
                let detail = format!(
                    "`{key}` is a size with its unit in quotes, as in \"{number}M\" or \"{number} GiB\""
                );
                self.report(&value.span(), &refusals::WRONG_TYPE, detail);
                return None;
            }
            other => return self.wrong_type(key, value.span(), "a size in quotes", other),
        };
        let problem = match size::parse(text) {
            Ok(bytes) if !limits.contains(&bytes) => format!(
                "`{key}` is {}; it goes from {} to {}",
                Bytes(bytes),
                Bytes(*limits.start()),
                Bytes(*limits.end())
            ),
            Ok(bytes) if bytes % step != 0 => {
                format!("`{key}` is {bytes} bytes; it is a multiple of {}", Bytes(step))
            }
            Ok(bytes) => return Some(Found { value: bytes, span: value.span() }),
            Err(reason) => format!("`{key}`: {reason}"),
        };
        self.report(&value.span(), &refusals::BAD_VALUE, problem);
        None
    }

    /// A whole number at `key`, within limits.
    pub(super) fn number(&self, key: &'static str, limits: RangeInclusive<i64>) -> Option<i64> {
        let value = self.take(key)?;
        let DeValue::Integer(written) = value.get_ref() else {
            return self.wrong_type(key, value.span(), "a whole number", value.get_ref());
        };
        let number = i64::from_str_radix(written.as_str(), written.radix());
        match number {
            Ok(number) if limits.contains(&number) => Some(number),
            _ => {
                let (first, last) = limits.into_inner();
                let detail =
                    format!("`{key}` is {}; it goes from {first} to {last}", written.as_str());
                self.report(&value.span(), &refusals::BAD_VALUE, detail);
                None
            }
        }
    }

    /// True or false at `key`.
    pub(super) fn switch(&self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Boolean(on) => Some(*on),
            other => self.wrong_type(key, value.span(), "true or false", other),
        }
    }

    /// A file at `key` that is there, relative to `folder`.
    pub(super) fn file(&self, key: &'static str, folder: &Path) -> Option<Found<PathBuf>> {
        let text = self.text(key)?;
        let path = folder.join(text.value.replace("{here}", &folder.to_string_lossy()));
        if !path.is_file() {
            let what = if path.exists() { "is not a file" } else { "is not there" };
            let detail = format!("`{key}`: {} {what}", path.display());
            self.report(&text.span, &refusals::FILE_NOT_THERE, detail);
            return None;
        }
        Some(Found { value: path, span: text.span })
    }

    /// A list of texts at `key`.
    pub(super) fn texts(&self, key: &'static str) -> Option<Found<Vec<Found<&'t str>>>> {
        let value = self.take(key)?;
        let expected = "a list of texts, as in [\"program\", \"argument\"]";
        let DeValue::Array(items) = value.get_ref() else {
            return self.wrong_type(key, value.span(), expected, value.get_ref());
        };
        let mut texts = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => {
                    texts.push(Found { value: text.as_ref(), span: item.span() });
                }
                other => return self.wrong_type(key, item.span(), expected, other),
            }
        }
        Some(Found { value: texts, span: value.span() })
    }

    /// The table at `key`.
    pub(super) fn table(&self, key: &'static str) -> Option<Found<&'t DeTable<'t>>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Found { value: table, span: value.span() }),
            other => self.wrong_type(key, value.span(), "a table, as in { name = value }", other),
        }
    }

    /// The tables of a `[[key]]` list; none if the key is not there.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'t>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let expected = format!("a list of tables, each begun by [[{key}]]");
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type::<()>(key, value.span(), &expected, value.get_ref());
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    tables.push(Table::new(self.page, format!("[[{key}]]"), item.span(), table));
                }
                other => {
                    self.wrong_type::<()>(key, item.span(), &expected, other);
                }
            }
        }
        tables
    }

    /// Reports every key nobody asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for entry in self.entries.iter().filter(|entry| !entry.taken.get()) {
            let hint = match nearest(entry.key, asked.iter().copied()) {
                Some(meant) if self.has(meant) => format!("`{meant}` is there already"),
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("its keys are {}", asked.join(", ")),
            };
            let detail = format!("`{}` in {}; {hint}", entry.key, self.what);
            self.report(&entry.key_span, &refusals::UNKNOWN_KEY, detail);
        }
    }

    fn wrong_type<T>(
        &self,
        key: &str,
        span: Range<usize>,
        expected: &str,
        got: &DeValue<'_>,
    ) -> Option<T> {
        let detail = format!("`{key}` is {expected}, not {}", kind_of(got));
        self.report(&span, &refusals::WRONG_TYPE, detail);
        None
    }
}

/// "; did you mean `word`?", if one of `words` is near.
pub(super) fn did_you_mean(typed: &str, words: &[&'static str]) -> String {
    nearest(typed, words.iter().copied())
        .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"))
}

/// What a value is, in the words of a person.
pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
