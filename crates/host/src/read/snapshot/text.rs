//! The text of a snapshot as a tree.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use ringfence_refusal::Refusal;

use crate::fact::Unknown;
use crate::read::hex;
use crate::read::registers::{Gap, Registers};
use crate::read::tree::{Directory, Keep, Miss, Tree};
use crate::refusals::{GARBLED_SNAPSHOT, UNKNOWN_SNAPSHOT};

use super::recorder::LIST;
use super::{TITLE, VERSION};

/// Lines of a directory, at most: a reader asks for some twenty names in one, and looks through all
/// lines for each.
const MOST_LINES: usize = 64;

/// Pieces of config space, at most: there are no more double words.
const MOST_PIECES: usize = 1024;

/// More pieces than most functions have.
const MANY_PIECES: usize = 12;

/// The directories of a snapshot, by path. Values stay in the text until they are asked for.
pub(super) struct Recorded<'a> {
    directories: Vec<Listed<'a>>,
    lines: Vec<Line<'a>>,
    /// Where the last directory asked for is: readers ask in the order in which they were recorded.
    last: Cell<usize>,
}

/// One directory, and which of the lines are in it.
struct Listed<'a> {
    path: Cow<'a, str>,
    number: usize,
    lines: Range<usize>,
}

/// One thing at a name.
#[derive(Clone, Copy)]
struct Line<'a> {
    kind: Kind,
    name: &'a str,
    value: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Names,
    Text,
    To,
    Bytes,
    Config,
    Denied,
    Failed,
}

impl<'a> Recorded<'a> {
    /// Finds the directories and the lines in each.
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        let mut rest = lines(text).enumerate();
        let version = rest.next().and_then(|(_, line)| line.trim_end().strip_prefix(TITLE));
        if version != Some(VERSION) {
            return Err(Refusal::new(
                &UNKNOWN_SNAPSHOT,
                match version {
                    Some(version) => {
                        let version: String = version.chars().take(20).collect();
                        format!("version {version:?}, and this program reads version {VERSION}")
                    }
                    None => format!("the first line is not \"{TITLE}{VERSION}\""),
                },
            ));
        }
        // Room for lines as long as most are, so that what is read is not moved as it grows.
        let mut all = Vec::with_capacity(text.len() / 32);
        let mut directories = Vec::<Listed<'a>>::with_capacity(text.len() / 256);
        for (index, line) in rest {
            let number = index + 1;
            if line == "end" {
                return Self::sorted(directories, all);
            }
            if let Some(path) = line.strip_prefix("in ") {
                let path =
                    unescaped(path).ok_or_else(|| garbled(number, "the directory's name"))?;
                directories.push(Listed { path, number, lines: all.len()..all.len() });
                continue;
            }
            let Some(directory) = directories.last_mut() else {
                return Err(garbled(number, "a line before the first directory"));
            };
            all.push(Line::parse(line).ok_or_else(|| garbled(number, "no such kind of line"))?);
            directory.lines.end = all.len();
            if directory.lines.len() > MOST_LINES {
                return Err(garbled(number, "more lines than any directory has"));
            }
        }
        Err(Refusal::new(
            &GARBLED_SNAPSHOT,
            format!("cut short: no line \"end\" after {} lines", lines(text).count()),
        ))
    }

    fn sorted(mut directories: Vec<Listed<'a>>, lines: Vec<Line<'a>>) -> Result<Self, Refusal> {
        // As they are when nobody moved them.
        if !directories.is_sorted_by(|one, other| one.path < other.path) {
            directories.sort_by(|one, other| one.path.cmp(&other.path));
            if let Some(pair) = directories.windows(2).find(|pair| pair[0].path == pair[1].path) {
                return Err(garbled(pair[1].number, "a directory that was there before"));
            }
        }
        Ok(Self { directories, lines, last: Cell::new(0) })
    }

    fn lines(&self, directory: &str) -> &[Line<'a>] {
        let is_it = |at: usize| self.directories.get(at).is_some_and(|it| it.path == directory);
        let next = self.last.get() + 1;
        let at = if is_it(next) {
            next
        } else {
            let found = self.directories.binary_search_by(|it| it.path.as_ref().cmp(directory));
            let Ok(at) = found else { return &[] };
            at
        };
        self.last.set(at);
        let lines = self.directories.get(at).map(|it| it.lines.clone());
        lines.and_then(|lines| self.lines.get(lines)).unwrap_or_default()
    }
}

fn garbled(number: usize, what: &str) -> Refusal {
    Refusal::new(&GARBLED_SNAPSHOT, format!("line {number}: {what}"))
}

/// The lines of a text. One that is cut within its last line ends without it.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut first = 0;
    memchr::memchr_iter(b'\n', text.as_bytes()).filter_map(move |end| {
        let line = text.get(first..end);
        first = end + 1;
        line
    })
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (word, rest) = split(line);
        let kind = match word {
            "text" => Kind::Text,
            "to" => Kind::To,
            "bytes" => Kind::Bytes,
            "names" => return Some(Self { kind: Kind::Names, name: LIST, value: rest }),
            "config" => return Some(Self { kind: Kind::Config, name: "config", value: rest }),
            "denied" => return Some(Self { kind: Kind::Denied, name: rest, value: "" }),
            "failed" => return Some(Self { kind: Kind::Failed, name: rest, value: "" }),
            _ => return None,
        };
        let (name, value) = split(rest);
        Some(Self { kind, name, value })
    }
}

/// The first word and what follows it. Words are short, so this looks at one byte after another.
fn split(text: &str) -> (&str, &str) {
    let parts =
        text.bytes().position(|byte| byte == b' ').and_then(|end| text.split_at_checked(end));
    parts.map_or((text, ""), |(word, rest)| (word, rest.get(1..).unwrap_or_default()))
}

impl<'t> Tree for Recorded<'t> {
    type Directory<'a>
        = RecordedDirectory<'a>
    where
        Self: 'a;

    fn names(&self, directory: &str) -> Result<Vec<Cow<'_, str>>, Miss> {
        let value = find(self.lines(directory), Kind::Names, LIST)?;
        let names = value.split(' ').filter(|name| !name.is_empty());
        names.map(unescaped).collect::<Option<_>>().ok_or(Miss::Failed)
    }

    fn directory(&self, path: &str) -> RecordedDirectory<'_> {
        RecordedDirectory(self.lines(path))
    }
}

/// What is at a name, if it is of the kind asked for.
fn find<'a>(lines: &[Line<'a>], kind: Kind, name: &str) -> Result<&'a str, Miss> {
    let found = lines.iter().find(|line| {
        (line.kind == kind || matches!(line.kind, Kind::Denied | Kind::Failed)) && line.name == name
    });
    match found {
        Some(line) if line.kind == kind => Ok(line.value),
        Some(line) if line.kind == Kind::Denied => Err(Miss::Denied),
        Some(_) => Err(Miss::Failed),
        None => Err(Miss::Absent),
    }
}

pub(super) struct RecordedDirectory<'a>(&'a [Line<'a>]);

impl Directory for RecordedDirectory<'_> {
    type Registers<'a>
        = RecordedRegisters<'a>
    where
        Self: 'a;

    fn text(&self, name: &str, keep: Keep) -> Result<Cow<'_, str>, Miss> {
        let text = unescaped(find(self.0, Kind::Text, name)?).ok_or(Miss::Failed)?;
        Ok(keep.of(text))
    }

    fn link(&self, name: &str) -> Result<Cow<'_, str>, Miss> {
        unescaped(find(self.0, Kind::To, name)?).ok_or(Miss::Failed)
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Miss> {
        let digits = find(self.0, Kind::Bytes, name)?;
        let mut bytes = Vec::with_capacity(digits.len() / 2);
        if hex::append(&mut bytes, digits) { Ok(bytes) } else { Err(Miss::Failed) }
    }

    fn config(&self) -> Result<RecordedRegisters<'_>, Miss> {
        let value = find(self.0, Kind::Config, "config")?;
        let (end, mut rest) = split(value);
        let mut pieces = Vec::with_capacity(MANY_PIECES);
        while !rest.is_empty() && pieces.len() < MOST_PIECES {
            let end = memchr::memchr(b' ', rest.as_bytes()).unwrap_or(rest.len());
            let (piece, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            pieces.extend(Self::piece(piece.as_bytes()));
            rest = after.get(1..).unwrap_or_default();
        }
        Ok(RecordedRegisters { end, pieces })
    }
}

impl RecordedDirectory<'_> {
    /// Where a piece of config space is, and its digits.
    fn piece(piece: &[u8]) -> Option<(u16, &[u8])> {
        let colon = piece.iter().position(|byte| *byte == b':')?;
        let from = str::from_utf8(piece.get(..colon)?).ok()?;
        Some((u16::from_str_radix(from, 16).ok()?, piece.get(colon + 1..)?))
    }
}

/// Registers as digits, in the pieces that were read.
pub(super) struct RecordedRegisters<'a> {
    end: &'a str,
    pieces: Vec<(u16, &'a [u8])>,
}

impl Registers for RecordedRegisters<'_> {
    fn double_word(&mut self, offset: u16) -> Result<u32, Gap> {
        for (from, digits) in &self.pieces {
            let Some(into) = offset.checked_sub(*from) else { continue };
            let into = usize::from(into) * 2;
            let Some(digits) = digits.get(into..into + 8) else { continue };
            return value(digits).ok_or(Gap::Unread(Unknown::Garbled));
        }
        Err(match self.end {
            "needs-root" => Gap::Unread(Unknown::NeedsRoot),
            end => match u16::from_str_radix(end, 16) {
                Ok(end) if offset >= end => Gap::End,
                _ => Gap::Unread(Unknown::NotInSource),
            },
        })
    }
}

/// The double word that eight digits are, lowest byte first.
fn value(digits: &[u8]) -> Option<u32> {
    let mut bytes = [0; 4];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex::digit(pair[0])? << 4 | hex::digit(pair[1])?;
    }
    Some(u32::from_le_bytes(bytes))
}

/// A text on one line; a name is without spaces, too.
pub(super) fn escaped(text: &str, is_name: bool) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            ' ' if is_name => line.push_str("\\s"),
            other if other.is_control() => line.extend(other.escape_unicode()),
            other => line.push(other),
        }
    }
    line
}

/// What [`escaped`] was given; `None` if this is nothing it gives.
fn unescaped(line: &str) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'\\', line.as_bytes()).is_none() {
        return Some(Cow::Borrowed(line));
    }
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next()? {
            '\\' => text.push('\\'),
            'n' => text.push('\n'),
            's' => text.push(' '),
            'u' => {
                let (digits, rest) = characters.as_str().strip_prefix('{')?.split_once('}')?;
                text.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
                characters = rest.chars();
            }
            _ => return None,
        }
    }
    Some(Cow::Owned(text))
}
