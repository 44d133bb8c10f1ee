//! Batches as bytes: wishes and answers of fixed length, little-endian, read without a copy.
//!
//! A batch of wishes is a word that says how (0 best effort, 1 all or nothing) and a word of zero, and
//! wishes; a batch to be unmapped is two words of zero, and which. An answer has as many entries, in order,
//! each with a text of its own length behind all of them.

use ringfence_addr::{Gpa, Iova, Rights, Span};
use ringfence_ledger::{Appears, Entry, Handle, Owner, Place, Which, Wish};
use ringfence_refusal::{Failure, Refusal};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::account::{Mode, Reached};
use crate::refusals::NOT_A_MESSAGE;

/// How many entries a batch on the wire has at most. (In a process there is no such bound.)
pub const ENTRIES_MAX: usize = 4096;
/// How long the text of one answer is at most.
const TEXT_BYTES_MAX: usize = 160;

/// The bits of a wish.
const READ: u32 = 1;
const WRITE: u32 = 1 << 1;
const DEVICE: u32 = 1 << 2;
const HOST: u32 = 1 << 3;
const AT: u32 = 1 << 4;

/// What comes before the entries.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Head {
    how: U32,
    zero: U32,
}

/// A wish on the wire.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct WireWish {
    owner: U64,
    first: U64,
    last: U64,
    at: U64,
    flags: U32,
    zero: U32,
}

/// What to unmap on the wire: a handle, or bus addresses.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct WireWhich {
    kind: U32,
    zero: U32,
    first: U64,
    last: U64,
}

/// An answer on the wire.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct WireAnswer {
    outcome: U16,
    code: U16,
    text: U32,
    handle: U64,
    bus: U64,
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is mapped: by this handle, and at these bus addresses if it has any.
    Mapped(Handle, Option<Iova>),
    /// It is not reached, or still is, or nobody knows.
    Unmapped(Reached),
    /// It was refused, with this code.
    Refused(u16, String),
    /// The environment failed.
    Failed(String),
}

impl Answer {
    pub(super) fn of_map(answer: &Result<Entry, Failure>) -> Self {
        match answer {
            Ok(entry) => Self::Mapped(entry.handle, entry.bus.map(|bus| bus.first())),
            Err(failure) => Self::of(failure),
        }
    }

    pub(super) fn of_unmap(answer: &Result<Reached, Failure>) -> Self {
        answer.as_ref().map_or_else(Self::of, |reached| Self::Unmapped(*reached))
    }

    pub(super) fn refusal(refusal: &Refusal) -> Self {
        Self::Refused(refusal.code().number, refusal.detail().to_owned())
    }

    fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => Self::refusal(refusal),
            Failure::Faulted(fault) => Self::Failed(format!("{fault}: {}", fault.io_error())),
        }
    }
}

fn refuse(detail: impl Into<String>) -> Refusal {
    Refusal::new(&NOT_A_MESSAGE, detail.into())
}

/// The entries of a batch, of which there are not too many.
fn entries<T: FromBytes + Immutable + KnownLayout + Unaligned>(
    bytes: &[u8],
) -> Result<(u32, &[T]), Refusal> {
    let (head, rest) =
        Head::ref_from_prefix(bytes).map_err(|_| refuse("a batch without a head"))?;
    let entries = <[T]>::ref_from_bytes(rest)
        .map_err(|_| refuse(format!("{} bytes are no whole entries", rest.len())))?;
    if head.zero.get() != 0 || entries.len() > ENTRIES_MAX {
        return Err(refuse(format!("{} entries, at most {ENTRIES_MAX}", entries.len())));
    }
    Ok((head.how.get(), entries))
}

/// Reads a batch of wishes. One that makes no sense makes the batch none: it was not meant.
///
/// # Errors
///
/// `RF0918`.
pub fn read_wishes(bytes: &[u8]) -> Result<(Mode, Vec<Wish>), Refusal> {
    let (how, entries) = entries::<WireWish>(bytes)?;
    let mode = match how {
        0 => Mode::BestEffort,
        1 => Mode::AllOrNothing,
        other => return Err(refuse(format!("{other} is no way to carry a batch out"))),
    };
    let wishes: Result<Vec<Wish>, Refusal> = entries.iter().map(wish).collect();
    Ok((mode, wishes?))
}

fn wish(entry: &WireWish) -> Result<Wish, Refusal> {
    let (first, last) = (Gpa::new(entry.first.get()), Gpa::new(entry.last.get()));
    let flags = entry.flags.get();
    let memory =
        Span::new(first, last).ok_or_else(|| refuse(format!("memory from {first} to {last}")))?;
    let rights = match flags & (READ | WRITE) {
        0 => Rights::NONE,
        READ => Rights::READ,
        WRITE => Rights::WRITE,
        _ => Rights::READ_WRITE,
    };
    let appears = match flags & (DEVICE | HOST) {
        DEVICE => Appears::Device,
        HOST => Appears::Host,
        0 => return Err(refuse("a wish that appears nowhere")),
        _ => Appears::Both,
    };
    if flags & !(READ | WRITE | DEVICE | HOST | AT) != 0 || entry.zero.get() != 0 {
        return Err(refuse(format!("a wish with flags {flags:#x}")));
    }
    let place = match flags & AT {
        0 => Place::Chosen,
        _ => Place::At(Iova::new(entry.at.get())),
    };
    Ok(Wish { owner: Owner::from_number(entry.owner.get()), memory, rights, place, appears })
}

/// Writes a batch of wishes.
pub fn write_wishes(mode: Mode, wishes: &[Wish], into: &mut Vec<u8>) {
    let how = u32::from(mode == Mode::AllOrNothing);
    into.extend(Head { how: how.into(), zero: 0.into() }.as_bytes());
    for wish in wishes {
        let mut flags = 0;
        for (bit, is_set) in [
            (READ, wish.rights.allows(Rights::READ)),
            (WRITE, wish.rights.allows(Rights::WRITE)),
            (DEVICE, wish.appears.device()),
            (HOST, wish.appears.host()),
            (AT, wish.place != Place::Chosen),
        ] {
            flags |= if is_set { bit } else { 0 };
        }
        let at = match wish.place {
            Place::At(at) => at.get(),
            Place::Chosen => 0,
        };
        let entry = WireWish {
            owner: wish.owner.number().into(),
            first: wish.memory.first().get().into(),
            last: wish.memory.last().get().into(),
            at: at.into(),
            flags: flags.into(),
            zero: 0.into(),
        };
        into.extend(entry.as_bytes());
    }
}

/// Reads what is to be unmapped.
///
/// # Errors
///
/// `RF0918`.
pub fn read_which(bytes: &[u8]) -> Result<Vec<Which>, Refusal> {
    let (how, entries) = entries::<WireWhich>(bytes)?;
    if how != 0 {
        return Err(refuse(format!("{how} is no way to carry a batch out")));
    }
    let which = |entry: &WireWhich| match (entry.kind.get(), entry.zero.get()) {
        (0, 0) => Ok(Which::Handle(Handle::from_number(entry.first.get()))),
        (1, 0) => {
            let (first, last) = (Iova::new(entry.first.get()), Iova::new(entry.last.get()));
            let span = Span::new(first, last);
            span.map(Which::At).ok_or_else(|| refuse(format!("from {first} to {last}")))
        }
        (kind, _) => Err(refuse(format!("{kind} says neither a handle nor addresses"))),
    };
    entries.iter().map(which).collect()
}

/// Writes what is to be unmapped.
pub fn write_which(which: &[Which], into: &mut Vec<u8>) {
    into.extend(Head { how: 0.into(), zero: 0.into() }.as_bytes());
    for which in which {
        let (kind, first, last) = match which {
            Which::Handle(handle) => (0, handle.number(), 0),
            Which::At(span) => (1, span.first().get(), span.last().get()),
        };
        let (kind, first, last) = (U32::new(kind), U64::new(first), U64::new(last));
        into.extend(WireWhich { kind, zero: 0.into(), first, last }.as_bytes());
    }
}

/// Writes answers.
pub(super) fn write_answers(answers: &[Answer], into: &mut Vec<u8>) {
    into.extend(Head { how: 0.into(), zero: 0.into() }.as_bytes());
    let mut texts: Vec<u8> = Vec::new();
    for answer in answers {
        let (outcome, code, text, handle, bus) = match answer {
            Answer::Mapped(handle, None) => (0, 0, "", handle.number(), 0),
            Answer::Mapped(handle, Some(bus)) => (1, 0, "", handle.number(), bus.get()),
            Answer::Unmapped(Reached::No) => (2, 0, "", 0, 0),
            Answer::Unmapped(Reached::StillShared) => (3, 0, "", 0, 0),
            Answer::Unmapped(Reached::Unknown) => (4, 0, "", 0, 0),
            Answer::Refused(code, text) => (5, *code, text.as_str(), 0, 0),
            Answer::Failed(text) => (6, 0, text.as_str(), 0, 0),
        };
        // Cut wherever: whoever reads it takes half a character for none.
        let text = &text.as_bytes()[..text.len().min(TEXT_BYTES_MAX)];
        let length = u32::try_from(text.len()).unwrap_or(0);
        texts.extend(text);
        let entry = WireAnswer {
            outcome: U16::new(outcome),
            code: code.into(),
            text: length.into(),
            handle: handle.into(),
            bus: bus.into(),
        };
        into.extend(entry.as_bytes());
    }
    into.extend(texts);
}

/// Reads so many answers; fewer, where the whole batch was none: then the one says why.
///
/// # Errors
///
/// `RF0918`: the service is of another version.
pub fn read_answers(bytes: &[u8], count: usize) -> Result<Vec<Answer>, Refusal> {
    let short = || refuse("an answer that is cut short");
    let (_, rest) = Head::ref_from_prefix(bytes).map_err(|_| short())?;
    let (entries, mut texts) = match <[WireAnswer]>::ref_from_prefix_with_elems(rest, count) {
        Ok(both) => both,
        Err(_) => <[WireAnswer]>::ref_from_prefix_with_elems(rest, 1).map_err(|_| short())?,
    };
    let mut answers = Vec::with_capacity(entries.len());
    for entry in entries {
        let length = usize::try_from(entry.text.get()).map_err(|_| short())?;
        let (text, behind) = texts.split_at_checked(length).ok_or_else(short)?;
        texts = behind;
        let text = String::from_utf8_lossy(text).into_owned();
        let handle = Handle::from_number(entry.handle.get());
        let answer = match entry.outcome.get() {
            0 => Answer::Mapped(handle, None),
            1 => Answer::Mapped(handle, Some(Iova::new(entry.bus.get()))),
            2 => Answer::Unmapped(Reached::No),
            3 => Answer::Unmapped(Reached::StillShared),
            4 => Answer::Unmapped(Reached::Unknown),
            5 => Answer::Refused(entry.code.get(), text),
            6 => Answer::Failed(text),
            other => return Err(refuse(format!("{other} is no outcome"))),
        };
        let is_whole = matches!(answer, Answer::Refused(..) | Answer::Failed(_));
        answers.push(answer);
        if entries.len() == 1 && is_whole {
            break;
        }
    }
    Ok(answers)
}
