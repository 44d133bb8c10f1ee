//! Config space as the guest sees it: the function's own, with what a plan shows in its place.
//!
//! VFIO virtualises already what a guest must not change: base addresses, and what moves the function or
//! turns it off for good. What is left to do here is to show planned values of registers that name memory
//! of the host's, and to keep a fenced function from its bus.

use std::ops::Range;

use ringfence_addr::Gpa;
use ringfence_host::graphics;
use ringfence_refusal::{Failure, Fault, Refusal};

use super::port::Port;
use super::regions::Described;
use crate::refusals::OVERLAY;

/// The command register, and its bit for requests of the function's own (PCI Local Bus 3.0, section
/// 6.2.2).
const COMMAND: u64 = 0x04;
const BUS_MASTER: u16 = 1 << 2;
/// The command register, the status register, and base addresses: what nothing is shown in place of.
const ITS_OWN: [Range<u32>; 2] = [0x04..0x08, 0x10..0x28];

/// Graphics generations whose base register has 64 bits.
const WIDE_FROM: u8 = 11;

/// Bytes that are shown in place of the function's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where in config space.
    pub offset: u16,
    /// What is shown, at least at first.
    pub bytes: Vec<u8>,
    /// Which bits the guest can change: of each byte, none where there are fewer.
    pub writable: Vec<u8>,
}

/// What is shown in place of parts of config space. What a guest writes there stays here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay(Vec<Shown>);

impl Overlay {
    /// These bytes, of which none is shown twice.
    ///
    /// # Errors
    ///
    /// `RF0728` for what is not within 4 KiB, is shown twice, or has to be the function's own.
    pub fn new(shown: Vec<Shown>) -> Result<Self, Refusal> {
        let mut taken: Vec<Range<u32>> = ITS_OWN.to_vec();
        for one in &shown {
            let span = one.span();
            let overlaps = |other: &Range<u32>| span.start < other.end && other.start < span.end;
            if span.is_empty() || span.end > 4096 || taken.iter().any(overlaps) {
                let detail = format!("{:#x} to {:#x}", span.start, span.end);
                return Err(Refusal::new(&OVERLAY, detail));
            }
            taken.push(span);
        }
        Ok(Self(shown))
    }

    /// Shows the guest its graphics memory at `base`, where a plan placed it, in the register that says so
    /// (BDSM). `locked` is what the lowest bits of the function's own register are.
    ///
    /// # Errors
    ///
    /// `RF0728` for a base that the register of this generation cannot say.
    pub fn graphics(generation: u8, base: Gpa, locked: u8) -> Result<Self, Refusal> {
        let (offset, length) = match generation >= WIDE_FROM {
            true => (graphics::DATA_LOW, 8),
            false => (graphics::DATA, 4),
        };
        let value = base.get() | u64::from(locked & 0xf);
        let fits = base.get().trailing_zeros() >= 20 && (length == 8 || value >> 32 == 0);
        if !fits {
            let detail = format!("{base} for graphics memory of generation {generation}");
            return Err(Refusal::new(&OVERLAY, detail));
        }
        let bytes = value.to_le_bytes()[..length].to_vec();
        Self::new(vec![Shown { offset, bytes, writable: Vec::new() }])
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            let found = self.0.iter().find_map(|one| Some(one.bytes[one.place(at)?]));
            *byte = found.unwrap_or(*byte);
        }
    }

    /// Whether the byte is ours; what of it can be changed is.
    fn write(&mut self, at: u64, value: u8) -> bool {
        let mut all = self.0.iter_mut();
        let Some((one, place)) = all.find_map(|one| one.place(at).map(|place| (one, place))) else {
            return false;
        };
        let writable = one.writable.get(place).copied().unwrap_or(0);
        one.bytes[place] = one.bytes[place] & !writable | value & writable;
        true
    }
}

impl Shown {
    fn span(&self) -> Range<u32> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let offset = u32::from(self.offset);
        offset..offset.saturating_add(length)
    }

    /// Which of the bytes is at this offset.
    fn place(&self, at: u64) -> Option<usize> {
        let at = u32::try_from(at).ok().filter(|at| self.span().contains(at))?;
        usize::try_from(at - u32::from(self.offset)).ok()
    }
}

/// A function behind its config space: whoever reads or writes any of it comes by here, so that a fence
/// and a guest's write cannot cross.
#[derive(Debug)]
pub(super) struct Config<P> {
    port: P,
    region: Described,
    overlay: Overlay,
    /// There is no client.
    is_idle: bool,
    /// Somebody said so.
    is_told: bool,
}

/// Why a function is kept from its bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It has no client.
    Idle,
    /// Somebody wants it to be.
    Told,
}

impl<P: Port> Config<P> {
    pub(super) fn new(port: P, region: Described, overlay: Overlay) -> Self {
        Self { port, region, overlay, is_idle: false, is_told: false }
    }

    pub(super) fn port(&mut self) -> &mut P {
        &mut self.port
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.is_idle || self.is_told
    }

    fn why(&mut self, why: Why) -> &mut bool {
        match why {
            Why::Idle => &mut self.is_idle,
            Why::Told => &mut self.is_told,
        }
    }

    pub(super) fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        self.port.read(&self.region, offset, bytes)?;
        self.overlay.read(offset, bytes);
        Ok(())
    }

    /// Writes what is the function's, in as few pieces as the overlay leaves.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let mut piece: Vec<u8> = Vec::new();
        let mut begin = offset;
        for (at, byte) in (offset..).zip(bytes) {
            if self.overlay.write(at, *byte) {
                self.write_own(begin, &piece)?;
                piece.clear();
                begin = at + 1;
            } else {
                piece.push(self.allowed(at, *byte));
            }
        }
        self.write_own(begin, &piece)
    }

    fn write_own(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        match bytes {
            [] => Ok(()),
            _ => Ok(self.port.write(&self.region, offset, bytes)?),
        }
    }

    fn allowed(&self, at: u64, byte: u8) -> u8 {
        let [bus_master, _] = BUS_MASTER.to_le_bytes();
        if self.is_fenced() && at == COMMAND { byte & !bus_master } else { byte }
    }

    /// Turns bus mastering off, and keeps it off. From here on it is, whatever goes wrong.
    pub(super) fn fence(&mut self, why: Why) -> Result<(), Fault> {
        *self.why(why) = true;
        let mut command = [0; 2];
        self.port.read(&self.region, COMMAND, &mut command)?;
        let off = u16::from_le_bytes(command) & !BUS_MASTER;
        self.port.write(&self.region, COMMAND, &off.to_le_bytes())?;
        // What counts is what came of it.
        self.port.read(&self.region, COMMAND, &mut command)?;
        if u16::from_le_bytes(command) & BUS_MASTER != 0 {
            let what = format!("bus mastering of {}", self.port.function());
            let error = std::io::Error::other("it is on still");
            return Err(Fault::new("turn off", what, error));
        }
        Ok(())
    }

    /// Lets the guest turn bus mastering on again, if nothing else is in the way.
    pub(super) fn unfence(&mut self, why: Why) {
        *self.why(why) = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(offset: u16, length: usize) -> Shown {
        Shown { offset, bytes: vec![0; length], writable: Vec::new() }
    }

    #[test]
    fn nothing_is_shown_in_place_of_what_is_the_functions_own() {
        for wrong in [shown(4, 2), shown(0x27, 1), shown(0xffe, 4), shown(0x5c, 0), shown(2, 4)] {
            let refusal = Overlay::new(vec![wrong]).expect_err("not to be shown");
            assert_eq!(refusal.code(), &OVERLAY);
        }
        assert!(Overlay::new(vec![shown(0x5c, 4), shown(0x5e, 4)]).is_err(), "twice");
        assert!(Overlay::new(vec![shown(0x5c, 4), shown(0x60, 4), shown(0, 4)]).is_ok());
    }

    #[test]
    fn graphics_memory_is_shown_where_its_register_can_say_it() {
        let old = Overlay::graphics(9, Gpa::new(0x8c00_0000), 1).expect("an overlay");
        let mut bytes = [0xff; 8];
        old.read(0x5a, &mut bytes);
        assert_eq!(bytes, [0xff, 0xff, 1, 0, 0, 0x8c, 0xff, 0xff]);
        let new = Overlay::graphics(12, Gpa::new(0x10_8c00_0000), 1).expect("an overlay");
        new.read(0xc0, &mut bytes);
        assert_eq!(bytes, [1, 0, 0, 0x8c, 0x10, 0, 0, 0]);
        for (generation, base) in [(9, 0x1_0000_0000), (12, 0x8c00_1000)] {
            let refusal =
                Overlay::graphics(generation, Gpa::new(base), 0).expect_err("no such base");
            assert_eq!(refusal.code(), &OVERLAY);
        }
    }
}
