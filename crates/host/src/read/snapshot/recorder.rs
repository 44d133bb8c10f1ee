//! Writing down what a reader asks a tree and what it is told.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::fact::Unknown;
use crate::read::registers::{Gap, Registers};
use crate::read::tree::{Directory, Keep, Miss, Tree};

use super::text::escaped;
use super::{TITLE, VERSION};

/// A tree that remembers. Lines are kept by directory: a reader may come back to one.
pub(super) struct Recorder<T> {
    tree: T,
    lines: RefCell<BTreeMap<String, Vec<String>>>,
}

impl<T: Tree> Recorder<T> {
    pub(super) fn new(tree: T) -> Self {
        Self { tree, lines: RefCell::default() }
    }

    /// Everything asked and told so far.
    pub(super) fn into_text(self) -> String {
        let mut text = format!("{TITLE}{VERSION}\n");
        for (directory, lines) in self.lines.into_inner() {
            text.push_str("in ");
            text.push_str(&escaped(&directory, true));
            text.push('\n');
            for line in lines {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text.push_str("end\n");
        text
    }

    fn record(&self, directory: &str, line: String) {
        let mut lines = self.lines.borrow_mut();
        let lines = lines.entry(directory.to_owned()).or_default();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }

    /// Writes down a miss; what is absent is what is not in the file.
    fn record_miss(&self, directory: &str, name: &str, miss: Miss) {
        let word = match miss {
            Miss::Absent => return,
            Miss::Denied => "denied",
            Miss::Failed => "failed",
        };
        self.record(directory, format!("{word} {}", escaped(name, true)));
    }
}

/// The name under which a list of names that is not to be had is recorded.
pub(super) const LIST: &str = "/";

impl<T: Tree> Tree for Recorder<T> {
    type Directory<'a>
        = Recording<'a, T>
    where
        Self: 'a;

    fn names(&self, directory: &str) -> Result<Vec<Cow<'_, str>>, Miss> {
        let answer = self.tree.names(directory);
        match &answer {
            Ok(names) => {
                let names: Vec<_> = names.iter().map(|name| escaped(name, true)).collect();
                self.record(directory, format!("names {}", names.join(" ")));
            }
            Err(miss) => self.record_miss(directory, LIST, *miss),
        }
        answer
    }

    fn directory(&self, path: &str) -> Recording<'_, T> {
        Recording { recorder: self, path: path.to_owned(), directory: self.tree.directory(path) }
    }
}

pub(super) struct Recording<'a, T: Tree + 'a> {
    recorder: &'a Recorder<T>,
    path: String,
    directory: T::Directory<'a>,
}

impl<T: Tree> Recording<'_, T> {
    fn record<V>(
        &self,
        name: &str,
        answer: Result<V, Miss>,
        line: impl FnOnce(&V) -> String,
    ) -> Result<V, Miss> {
        match &answer {
            Ok(value) => self.recorder.record(&self.path, line(value)),
            Err(miss) => self.recorder.record_miss(&self.path, name, *miss),
        }
        answer
    }
}

impl<'a, T: Tree> Directory for Recording<'a, T> {
    type Registers<'b>
        = RecordedRegisters<'b, 'a, T>
    where
        Self: 'b;

    fn text(&self, name: &str, keep: Keep) -> Result<Cow<'_, str>, Miss> {
        self.record(name, self.directory.text(name, keep), |text| {
            format!("text {} {}", escaped(name, true), escaped(text, false))
        })
    }

    fn link(&self, name: &str) -> Result<Cow<'_, str>, Miss> {
        self.record(name, self.directory.link(name), |target| {
            format!("to {} {}", escaped(name, true), escaped(target, false))
        })
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Miss> {
        self.record(name, self.directory.bytes(name), |bytes| {
            let mut line = format!("bytes {} ", escaped(name, true));
            push_digits(&mut line, bytes);
            line
        })
    }

    fn config(&self) -> Result<RecordedRegisters<'_, 'a, T>, Miss> {
        match self.directory.config() {
            Ok(registers) => Ok(RecordedRegisters {
                recording: self,
                registers,
                pieces: BTreeMap::new(),
                end: None,
                needs_root: false,
            }),
            Err(miss) => {
                self.recorder.record_miss(&self.path, "config", miss);
                Err(miss)
            }
        }
    }
}

/// Registers that write down which were read, once nobody reads them any more.
pub(super) struct RecordedRegisters<'b, 'a: 'b, T: Tree + 'a> {
    recording: &'b Recording<'a, T>,
    registers: <T::Directory<'a> as Directory>::Registers<'b>,
    pieces: BTreeMap<u16, u32>,
    end: Option<u16>,
    needs_root: bool,
}

impl<T: Tree> Registers for RecordedRegisters<'_, '_, T> {
    fn double_word(&mut self, offset: u16) -> Result<u32, Gap> {
        let answer = self.registers.double_word(offset);
        match answer {
            Ok(value) => {
                self.pieces.insert(offset, value);
            }
            Err(Gap::End) => self.end = Some(self.end.map_or(offset, |end| end.min(offset))),
            Err(Gap::Unread(Unknown::NeedsRoot)) => self.needs_root = true,
            Err(Gap::Unread(_)) => {}
        }
        answer
    }
}

impl<T: Tree> Drop for RecordedRegisters<'_, '_, T> {
    fn drop(&mut self) {
        let mut line = "config".to_owned();
        match self.end {
            // Infallible: a String grows.
            Some(end) => _ = write!(line, " {end:x}"),
            None if self.needs_root => line.push_str(" needs-root"),
            None => line.push_str(" part"),
        }
        let mut next = None;
        for (offset, value) in &self.pieces {
            if next != Some(*offset) {
                _ = write!(line, " {offset:x}:");
            }
            push_digits(&mut line, &value.to_le_bytes());
            next = offset.checked_add(4);
        }
        self.recording.recorder.record(&self.recording.path, line);
    }
}

fn push_digits(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        _ = write!(line, "{byte:02x}");
    }
}
