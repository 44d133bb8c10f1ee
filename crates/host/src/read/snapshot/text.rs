//! The text of a snapshot as a tree.

use std::borrow::Cow;
use std::collections::HashMap;

use ringfence_refusal::Refusal;

use crate::fact::Unknown;
use crate::read::hex;
use crate::read::registers::{Gap, Registers};
use crate::read::tree::{Directory, Keep, Miss, Tree};
use crate::refusals::{GARBLED_SNAPSHOT, UNKNOWN_SNAPSHOT};

use super::recorder::LIST;
use super::{TITLE, VERSION};

/// The directories of a snapshot, by path. Values stay in the text until they are asked for.
pub(super) struct Recorded<'a>(HashMap<Cow<'a, str>, Vec<Line<'a>>>);

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
        let mut lines = text.lines().enumerate();
        let version = lines.next().and_then(|(_, line)| line.trim_end().strip_prefix(TITLE));
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
        let mut directories = HashMap::new();
        let mut directory: Option<(Cow<'a, str>, Vec<Line<'a>>)> = None;
        for (number, line) in lines {
            if line == "end" {
                if let Some((path, lines)) = directory.take() {
                    directories.insert(path, lines);
                }
                return Ok(Self(directories));
            }
            let garbled =
                |what| Refusal::new(&GARBLED_SNAPSHOT, format!("line {}: {what}", number + 1));
            if let Some(path) = line.strip_prefix("in ") {
                let path = unescaped(path).ok_or_else(|| garbled("the directory's name"))?;
                if directories.contains_key(&path) {
                    return Err(garbled("a directory that was there before"));
                }
                if let Some((path, lines)) = directory.replace((path, Vec::new())) {
                    directories.insert(path, lines);
                }
                continue;
            }
            let Some((_, lines)) = &mut directory else {
                return Err(garbled("a line before the first directory"));
            };
            lines.push(Line::parse(line).ok_or_else(|| garbled("no such kind of line"))?);
        }
        Err(Refusal::new(
            &GARBLED_SNAPSHOT,
            format!("cut short: no line \"end\" after {} lines", text.lines().count()),
        ))
    }

    fn lines(&self, directory: &str) -> &[Line<'a>] {
        self.0.get(directory).map(Vec::as_slice).unwrap_or_default()
    }
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
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
        let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Self { kind, name, value })
    }
}

impl Tree for Recorded<'_> {
    fn names(&self, directory: &str) -> Result<Vec<String>, Miss> {
        let value = find(self.lines(directory), Kind::Names, LIST)?;
        let names = value.split(' ').filter(|name| !name.is_empty());
        names
            .map(|name| Some(unescaped(name)?.into_owned()))
            .collect::<Option<_>>()
            .ok_or(Miss::Failed)
    }

    fn directory<'a>(&'a self, path: &str) -> Box<dyn Directory + 'a> {
        Box::new(RecordedDirectory(self.lines(path)))
    }
}

/// What is at a name, if it is of the kind asked for.
fn find<'a>(lines: &[Line<'a>], kind: Kind, name: &str) -> Result<&'a str, Miss> {
    let found = lines.iter().find(|line| {
        line.name == name && (line.kind == kind || matches!(line.kind, Kind::Denied | Kind::Failed))
    });
    match found {
        Some(line) if line.kind == kind => Ok(line.value),
        Some(line) if line.kind == Kind::Denied => Err(Miss::Denied),
        Some(_) => Err(Miss::Failed),
        None => Err(Miss::Absent),
    }
}

struct RecordedDirectory<'a>(&'a [Line<'a>]);

impl Directory for RecordedDirectory<'_> {
    fn text(&self, name: &str, keep: Keep) -> Result<String, Miss> {
        let text = unescaped(find(self.0, Kind::Text, name)?).ok_or(Miss::Failed)?;
        Ok(match keep {
            Keep::Whole => text.into_owned(),
            _ => keep.of(&text),
        })
    }

    fn link(&self, name: &str) -> Result<String, Miss> {
        unescaped(find(self.0, Kind::To, name)?).map(Cow::into_owned).ok_or(Miss::Failed)
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Miss> {
        let digits = find(self.0, Kind::Bytes, name)?;
        let mut bytes = Vec::with_capacity(digits.len() / 2);
        if hex::append(&mut bytes, digits) { Ok(bytes) } else { Err(Miss::Failed) }
    }

    fn config(&self) -> Result<Box<dyn Registers + '_>, Miss> {
        let value = find(self.0, Kind::Config, "config")?;
        let (end, pieces) = value.split_once(' ').unwrap_or((value, ""));
        Ok(Box::new(RecordedRegisters { end, pieces }))
    }
}

/// Registers as digits, looked for among the pieces that were read.
struct RecordedRegisters<'a> {
    end: &'a str,
    pieces: &'a str,
}

impl Registers for RecordedRegisters<'_> {
    fn double_word(&mut self, offset: u16) -> Result<u32, Gap> {
        for piece in self.pieces.split(' ') {
            let Some((from, digits)) = piece.split_once(':') else { continue };
            let Ok(from) = u16::from_str_radix(from, 16) else { continue };
            let Some(into) = offset.checked_sub(from) else { continue };
            let into = usize::from(into) * 2;
            let Some(digits) = digits.as_bytes().get(into..into + 8) else { continue };
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
    if !line.contains('\\') {
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
