//! Carrying the steps out, and putting the page table back whatever happens.

use std::num::NonZeroU64;

use ringfence_addr::{Address as _, Alignment, Gma, Gpa, Hpa, Span, SpanSet};
use ringfence_host::graphics::{FLUSH, FLUSH_NOW};
use ringfence_refusal::{Failure, Fault, Refusal};

use super::plan::{Piece, Scrub, Step};
use super::registers::{Graphics, View};
use crate::access::{Access, answering, register_u32};
use crate::manager::told;
use crate::refusals;

const PAGE_BYTES: u64 = Alignment::PAGE_4K.bytes();

/// The registers and the page table.
const REGISTERS: u8 = 0;
/// The aperture, or all of the device's memory.
const MEMORY: u8 = 2;

/// How much is read or written at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// The longest area that is copied: firmware's areas are a few pages.
const COPY_BYTES_MAX: u64 = 1 << 20;

/// What a mark is, but for the page's address: neither zero nor anything that is likely there.
const MARK: u64 = 0x5249_4e47_0000_0fe5;

/// What a scrub came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// What was cleared, and was seen to be.
    pub cleared: SpanSet<Hpa>,
    /// What was copied before.
    pub copied: Vec<Copied>,
}

/// What firmware left at a place, which stays there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Where it is.
    pub span: Span<Hpa>,
    /// What is there.
    pub bytes: Vec<u8>,
}

impl Copied {
    /// Where it goes in a VM that has memory of its own at `identity`, the device's numbers: there the
    /// device finds for the guest what firmware left for the host.
    ///
    /// # Errors
    ///
    /// The VM's memory does not cover it.
    pub fn place_in(&self, identity: Span<Gpa>) -> Result<Span<Gpa>, Refusal> {
        let place = self.span.rebase(Gpa::new(self.span.first().get()));
        place.filter(|place| identity.encloses(place)).ok_or_else(|| {
            let what = format!("{} is not all in the VM's {identity}", self.span);
            Refusal::new(&refusals::STOLEN_ODD, what)
        })
    }
}

impl Scrub {
    /// Carries it out; `observer` hears of each step before it is done.
    ///
    /// # Errors
    ///
    /// Memory was not seen to change as it should, or an access failed. What of the memory was
    /// cleared by then is not said: it counts as not cleared. The page table and the command register
    /// are put back all the same; if that fails, the refusal says so.
    pub fn carry_out(
        &self,
        access: &mut dyn Access,
        observer: &mut dyn FnMut(&Step),
    ) -> Result<Scrubbed, Failure> {
        answering(access, |access| {
            let mut carrier =
                Carrier { graphics: &self.graphics, access, remembered: None, copied: Vec::new() };
            for step in &self.steps {
                observer(step);
                if let Err(failure) = carrier.carry_out(step) {
                    return Err(carrier.give_up(failure));
                }
            }
            Ok(Scrubbed { cleared: self.cleared.clone(), copied: carrier.copied })
        })
    }
}

struct Carrier<'a> {
    graphics: &'a Graphics,
    access: &'a mut dyn Access,
    /// The entries as they were, for as long as they may be others now.
    remembered: Option<(Span<Gma>, Vec<u8>)>,
    copied: Vec<Copied>,
}

impl Carrier<'_> {
    fn carry_out(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Remember(addresses) => {
                let entries = self.read_entries(*addresses)?;
                self.remembered = Some((*addresses, entries));
                Ok(())
            }
            Step::Point(piece) => self.point(piece),
            Step::Copy(piece) => Ok(self.copy(piece)?),
            Step::Mark(piece) => Ok(self.mark(piece)?),
            Step::Find(piece) => self.find(piece),
            Step::Clear(piece) => Ok(self.clear(piece)?),
            Step::ReadBack(piece) => self.read_back(piece),
            Step::Restore(_) => self.restore(),
        }
    }

    /// What is to be said of a step that failed, after putting the entries back.
    fn give_up(&mut self, failure: Failure) -> Failure {
        match self.restore() {
            Ok(()) => failure,
            Err(worse) => {
                let what = format!("{}; and after that: {worse}", told(&failure));
                Refusal::new(&refusals::ENTRIES_NOT_RESTORED, what).into()
            }
        }
    }

    fn entry_bytes(&self) -> u64 {
        self.graphics.platform.entry_bytes().get()
    }

    /// Where in BAR 0 the entry for an address is.
    fn entry_offset(&self, address: Gma) -> u64 {
        match self.graphics.view {
            View::Aperture { entries_offset, .. } => {
                // Not more than there are entries: the plan keeps to those.
                entries_offset + address.get() / PAGE_BYTES * self.entry_bytes()
            }
            View::Whole { .. } => unreachable!("nothing is pointed at where all is there as it is"),
        }
    }

    fn read_entries(&mut self, addresses: Span<Gma>) -> Result<Vec<u8>, Fault> {
        let offset = self.entry_offset(addresses.first());
        let count = addresses.length_u64().map_or(0, NonZeroU64::get) / PAGE_BYTES;
        let bytes = usize::try_from(count * self.entry_bytes()).expect("a window is small");
        let mut entries = vec![0; bytes];
        self.each_entry(offset, &mut entries, |access, offset, entry| {
            access.read(REGISTERS, offset, entry)
        })?;
        Ok(entries)
    }

    /// Entries are read and written one by one: no more than one at a time is ever asked of the
    /// device by its drivers.
    fn each_entry(
        &mut self,
        first: u64,
        entries: &mut [u8],
        mut work: impl FnMut(&mut dyn Access, u64, &mut [u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let length = self.entry_bytes();
        let size = usize::try_from(length).expect("four or eight");
        for (number, entry) in (0..).zip(entries.chunks_exact_mut(size)) {
            work(self.access, first + number * length, entry)?;
        }
        Ok(())
    }

    /// Writes entries, has the device forget what it remembered, and reads them again.
    fn write_entries(&mut self, first: Gma, entries: &mut [u8]) -> Result<(), Failure> {
        let (offset, size) = (self.entry_offset(first), self.entry_bytes());
        self.each_entry(offset, entries, |access, offset, entry| {
            access.write(REGISTERS, offset, entry)
        })?;
        self.access.write(REGISTERS, FLUSH, &FLUSH_NOW.to_le_bytes())?;
        // Reading makes sure that the flush has arrived.
        register_u32(self.access, REGISTERS, FLUSH)?;
        let mut differing = None;
        self.each_entry(offset, entries, |access, offset, entry| {
            let mut now = [0; 8];
            let now = &mut now[..entry.len()];
            access.read(REGISTERS, offset, now)?;
            if now != entry && differing.is_none() {
                differing = Some((offset, number(entry), number(now)));
            }
            Ok(())
        })?;
        let Some((place, wanted, found)) = differing else { return Ok(()) };
        let entry = (place - offset) / size;
        let what = format!(
            "{}: entry {entry} from {first} on, at {place:#x} of BAR 0, was made {wanted:#x} and is {found:#x}",
            self.graphics.function
        );
        Err(Refusal::new(&refusals::NOT_SCRUBBED, what).into())
    }

    fn point(&mut self, piece: &Piece) -> Result<(), Failure> {
        let size = usize::try_from(self.entry_bytes()).expect("four or eight");
        let mut entries = Vec::new();
        for (page, _) in piece.pages() {
            let entry = self.graphics.platform.entry(page).ok_or_else(|| {
                let what = format!("{}: no entry can point at {page}", self.graphics.function);
                Refusal::new(&refusals::STOLEN_ODD, what)
            })?;
            entries.extend_from_slice(&entry.to_le_bytes()[..size]);
        }
        self.write_entries(Gma::new(piece.offset), &mut entries)
    }

    fn restore(&mut self) -> Result<(), Failure> {
        let Some((addresses, mut entries)) = self.remembered.take() else { return Ok(()) };
        self.write_entries(addresses.first(), &mut entries).map_err(|failure| match failure {
            Failure::Refused(refusal) => {
                Refusal::new(&refusals::ENTRIES_NOT_RESTORED, refusal.detail().to_owned()).into()
            }
            fault @ Failure::Faulted(_) => fault,
        })
    }

    fn copy(&mut self, piece: &Piece) -> Result<(), Fault> {
        let length = piece.bytes().min(COPY_BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(length).expect("at most a MiB")];
        self.access.read(MEMORY, piece.offset, &mut bytes)?;
        self.copied.push(Copied { span: piece.memory, bytes });
        Ok(())
    }

    fn mark(&mut self, piece: &Piece) -> Result<(), Fault> {
        for (page, offset) in piece.pages() {
            self.access.write(MEMORY, offset, &mark(page).to_le_bytes())?;
        }
        Ok(())
    }

    fn find(&mut self, piece: &Piece) -> Result<(), Failure> {
        for (page, offset) in piece.pages() {
            let mut bytes = [0; 8];
            self.access.read(MEMORY, offset, &mut bytes)?;
            let found = u64::from_le_bytes(bytes);
            if found != mark(page) {
                let what = format!(
                    "{}: the page at {page} was marked {:#x} and shows {found:#x} through another entry: \
                     what is seen in BAR 2 is not that memory",
                    self.graphics.function,
                    mark(page)
                );
                return Err(Refusal::new(&refusals::NOT_SCRUBBED, what).into());
            }
        }
        Ok(())
    }

    fn clear(&mut self, piece: &Piece) -> Result<(), Fault> {
        let zeros = vec![0; CHUNK_BYTES];
        for (offset, length) in chunks(piece) {
            self.access.write(MEMORY, offset, &zeros[..length])?;
        }
        Ok(())
    }

    fn read_back(&mut self, piece: &Piece) -> Result<(), Failure> {
        let mut bytes = vec![0; CHUNK_BYTES];
        for (offset, length) in chunks(piece) {
            let bytes = &mut bytes[..length];
            self.access.read(MEMORY, offset, bytes)?;
            if let Some(place) = bytes.iter().position(|byte| *byte != 0) {
                let within = offset - piece.offset + place as u64;
                let at = piece.memory.first().checked_add(within);
                let what = format!(
                    "{}: {} was cleared and reads {:#04x}",
                    self.graphics.function,
                    at.unwrap_or(piece.memory.last()),
                    bytes[place]
                );
                return Err(Refusal::new(&refusals::NOT_SCRUBBED, what).into());
            }
        }
        Ok(())
    }
}

fn mark(page: Hpa) -> u64 {
    MARK ^ page.get()
}

fn number(entry: &[u8]) -> u64 {
    entry.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Where in BAR 2 a piece is, in parts that are read or written at once.
fn chunks(piece: &Piece) -> impl Iterator<Item = (u64, usize)> {
    let (first, bytes) = (piece.offset, piece.bytes());
    (0..bytes).step_by(CHUNK_BYTES).map(move |done| {
        let length = (bytes - done).min(CHUNK_BYTES as u64);
        (first + done, usize::try_from(length).expect("no longer than a chunk"))
    })
}
