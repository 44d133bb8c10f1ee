//! What was begun with a group, written down before it is done.
//!
//! A file of lines, only ever added to: a checksum, a number, and a record. A line is on the disk
//! before what it announces is begun. A last line that is torn was never announced; a bad line with
//! others after it is no accident of ours, and nothing is concluded from such a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ringfence_refusal::{Failure, Fault, Refusal};
use serde::{Deserialize, Serialize};

use crate::plan::ClaimPlan;
use crate::refusals;
use crate::strength::Strength;

/// No journal is longer: a group of all functions of a domain, each with a dozen records, is not.
const LENGTH_MAX: u64 = 256 << 20;

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "lowercase")]
pub enum Record {
    /// What is going to be done, and what was so before.
    Begin {
        /// The boot it is done in: the next one starts from drivers of its own choice.
        boot: String,
        /// The plan.
        plan: ClaimPlan,
        /// How it is to be locked once it stands.
        #[serde(default)]
        strength: Strength,
    },
    /// A step of the plan is about to be carried out.
    Doing {
        /// Which, from 0.
        step: usize,
    },
    /// All of it was carried out.
    Claimed,
    /// From now on it is to be locked so.
    Lock {
        /// How.
        strength: Strength,
    },
    /// All of it is about to be undone: somebody asked for it, or a step failed.
    Undoing {
        /// Why.
        why: String,
    },
}

/// What a journal says has become of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first so many steps were begun, and no more.
    Begun(usize),
    /// The claim stands.
    Claimed,
    /// The claim is being given back, or was given up; so many steps had been begun.
    Undoing(usize),
}

/// What a journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The boot the claim was made in.
    pub boot: String,
    /// What was to be done.
    pub plan: ClaimPlan,
    /// How far it went.
    pub phase: Phase,
    /// How it is to be locked.
    pub strength: Strength,
}

impl Story {
    /// What the records tell, `None` when nothing was begun.
    fn of(records: Vec<Record>) -> Result<Option<Self>, &'static str> {
        let mut story: Option<Self> = None;
        for record in records {
            match (record, &mut story) {
                (Record::Begin { boot, plan, strength }, None) => {
                    story = Some(Self { boot, plan, phase: Phase::Begun(0), strength });
                }
                (Record::Begin { .. }, Some(_)) => return Err("begins twice"),
                (_, None) => return Err("does not begin at its beginning"),
                (Record::Lock { strength }, Some(story)) if story.phase == Phase::Claimed => {
                    story.strength = strength;
                }
                (record, Some(story)) => story.phase = story.after(&record)?,
            }
        }
        Ok(story)
    }

    fn after(&self, record: &Record) -> Result<Phase, &'static str> {
        let all = self.plan.steps.len();
        match (record, self.phase) {
            (Record::Doing { step }, Phase::Begun(begun)) if *step == begun && begun < all => {
                Ok(Phase::Begun(begun + 1))
            }
            (Record::Claimed, Phase::Begun(begun)) if begun == all => Ok(Phase::Claimed),
            (Record::Undoing { .. }, Phase::Begun(begun)) => Ok(Phase::Undoing(begun)),
            (Record::Undoing { .. }, Phase::Claimed) => Ok(Phase::Undoing(all)),
            // Undone again after a crash, or after a driver that would not come back.
            (Record::Undoing { .. }, Phase::Undoing(begun)) => Ok(Phase::Undoing(begun)),
            _ => Err("has records in an order that none of ours are in"),
        }
    }
}

/// A journal that is open to be added to.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    next: u64,
}

impl Journal {
    /// A journal in an empty file.
    pub(crate) fn new(file: File, path: PathBuf) -> Self {
        Self { file, path, next: 0 }
    }

    /// The journal in `file`, and what it says; `None` when nothing was begun.
    pub(crate) fn read(file: File, path: &Path) -> Result<(Self, Option<Story>), Failure> {
        let contents = Contents::of(&file, path)?;
        // What is added next must not continue a torn line.
        if contents.length_good < contents.length {
            file.set_len(contents.length_good as u64)
                .map_err(|error| Fault::new("cut", path.display().to_string(), error))?;
        }
        let journal = Self { file, path: path.to_path_buf(), next: contents.records };
        Ok((journal, contents.story))
    }

    /// What the journal in `file` says, which somebody else adds to.
    pub(crate) fn peek(file: &File, path: &Path) -> Result<Option<Story>, Failure> {
        Ok(Contents::of(file, path)?.story)
    }

    /// Adds a record; it is on the disk when this returns.
    pub(crate) fn add(&mut self, record: &Record) -> Result<(), Fault> {
        let line = line(self.next, record);
        let mut write = || -> io::Result<()> {
            self.file.write_all(line.as_bytes())?;
            self.file.sync_data()
        };
        write().map_err(|error| Fault::new("add to", self.path.display().to_string(), error))?;
        self.next += 1;
        Ok(())
    }

    /// The file, whose lock is the claim's.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// What is in a journal's file.
struct Contents {
    story: Option<Story>,
    records: u64,
    /// Bytes there are, and bytes without a torn line.
    length: usize,
    length_good: usize,
}

impl Contents {
    fn of(file: &File, path: &Path) -> Result<Self, Failure> {
        let mut bytes = Vec::new();
        file.take(LENGTH_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Fault::new("read", path.display().to_string(), error))?;
        let garbled =
            |what: String| Refusal::new(&refusals::JOURNAL, format!("{} {what}", path.display()));
        if bytes.len() as u64 > LENGTH_MAX {
            return Err(garbled(format!("is longer than {LENGTH_MAX} bytes")).into());
        }
        let (records, length_good) = parse(&bytes)
            .map_err(|line| garbled(format!("makes no sense in line {line}, before its last")))?;
        let count = records.len() as u64;
        let story = Story::of(records).map_err(|what| garbled(what.to_string()))?;
        Ok(Self { story, records: count, length: bytes.len(), length_good })
    }
}

/// A record as a line.
fn line(number: u64, record: &Record) -> String {
    let record = serde_json::to_string(record).expect("records are text and numbers");
    let body = format!("{number} {record}");
    let mut line = String::new();
    let _ = writeln!(line, "{:08x} {body}", checksum(body.as_bytes()));
    line
}

/// The records, and how many bytes they take up; or the number of a bad line that is not the last.
fn parse(bytes: &[u8]) -> Result<(Vec<Record>, usize), usize> {
    let mut records = Vec::new();
    let mut length = 0;
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        match parse_line(line, records.len()) {
            Some(record) => records.push(record),
            None if lines.peek().is_none() => break,
            None => return Err(records.len() + 1),
        }
        length += line.len();
    }
    Ok((records, length))
}

fn parse_line(line: &[u8], number: usize) -> Option<Record> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, body) = line.split_once(' ')?;
    if u32::from_str_radix(sum, 16).ok()? != checksum(body.as_bytes()) {
        return None;
    }
    let (at, record) = body.split_once(' ')?;
    if at.parse::<usize>().ok()? != number {
        return None;
    }
    serde_json::from_str(record).ok()
}

/// CRC-32 as of Ethernet (IEEE 802.3), reflected.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

#[cfg(test)]
mod tests;
