//! The two chains of capabilities in config space, whose pointers may be anything.

use crate::fact::{Fact, Unknown};

use super::registers::{END, EXTENDED, Gap, Registers};

/// Where the chain of conventional capabilities may be: behind the header.
const FIRST: u16 = 0x40;

/// What a walk found: where a capability is, or why that is not known.
pub(super) type Found = Fact<Option<u16>>;

/// What of the conventional chain isolation turns on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conventional {
    /// PCI Express.
    pub(super) express: Found,
    /// Subsystem ids of a bridge.
    pub(super) subsystem: Found,
}

/// What of the extended chain isolation turns on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extended {
    /// Access Control Services.
    pub(super) acs: Found,
    /// Single root I/O virtualization.
    pub(super) virtual_functions: Found,
}

const SUBSYSTEM: u8 = 0x0d;
const EXPRESS: u8 = 0x10;
const ACS: u16 = 0x000d;
const VIRTUAL_FUNCTIONS: u16 = 0x0010;

/// Walks the conventional chain from the pointer in the header; `wants_subsystem` for a bridge.
pub(super) fn walk_conventional(
    registers: &mut dyn Registers,
    pointer: u8,
    wants_subsystem: bool,
) -> Conventional {
    let mut visited = Visited::default();
    let (mut express, mut subsystem) = (None, None);
    let mut next = u16::from(pointer & !3);
    let end = loop {
        if express.is_some() && (subsystem.is_some() || !wants_subsystem) {
            break Fact::Known(None);
        }
        if next == 0 {
            break Fact::Known(None);
        }
        if next < FIRST || !visited.enter(next) {
            break Fact::Unknown(Unknown::Garbled);
        }
        let header = match registers.double_word(next) {
            Ok(u32::MAX) => break Fact::Unknown(Unknown::NoAnswer),
            Ok(header) => header.to_le_bytes(),
            Err(gap) => break Fact::Unknown(unread(gap)),
        };
        match header[0] {
            EXPRESS => express = express.or(Some(next)),
            SUBSYSTEM => subsystem = subsystem.or(Some(next)),
            _ => {}
        }
        next = u16::from(header[1] & !3);
    };
    Conventional { express: found(express, end), subsystem: found(subsystem, end) }
}

/// Walks the extended chain, as far as it must to find both capabilities.
pub(super) fn walk_extended(registers: &mut dyn Registers) -> Extended {
    let mut visited = Visited::default();
    let (mut acs, mut functions) = (None, None);
    let mut next = EXTENDED;
    let end = loop {
        if next == 0 || (acs.is_some() && functions.is_some()) {
            break Fact::Known(None);
        }
        if next < EXTENDED || !visited.enter(next) {
            break Fact::Unknown(Unknown::Garbled);
        }
        let header = match registers.double_word(next) {
            // No extended space behind this root complex, or nothing in it.
            Ok(0 | u32::MAX) | Err(Gap::End) if next == EXTENDED => break Fact::Known(None),
            Ok(0) => break Fact::Unknown(Unknown::Garbled),
            Ok(u32::MAX) => break Fact::Unknown(Unknown::NoAnswer),
            Ok(header) => header,
            Err(gap) => break Fact::Unknown(unread(gap)),
        };
        let [low, high, ..] = header.to_le_bytes();
        match u16::from_le_bytes([low, high]) {
            ACS => acs = acs.or(Some(next)),
            VIRTUAL_FUNCTIONS => functions = functions.or(Some(next)),
            _ => {}
        }
        next = u16::try_from(header >> 20).unwrap_or_default() & !3;
    };
    Extended { acs: found(acs, end), virtual_functions: found(functions, end) }
}

/// A capability that was met is where it was met, whatever ended the walk after it.
fn found(met: Option<u16>, end: Found) -> Found {
    met.map_or(end, |offset| Fact::Known(Some(offset)))
}

/// A register that a chain points to and that cannot be there is a garbled chain.
pub(super) fn unread(gap: Gap) -> Unknown {
    match gap {
        Gap::End => Unknown::Garbled,
        Gap::Unread(why) => why,
    }
}

/// The double words a walk has been at, so that it ends.
struct Visited([u64; END as usize / 4 / 64]);

impl Default for Visited {
    fn default() -> Self {
        Self([0; END as usize / 4 / 64])
    }
}

impl Visited {
    /// Whether this is the first time at `offset`.
    fn enter(&mut self, offset: u16) -> bool {
        let at = usize::from(offset / 4);
        let Some(word) = self.0.get_mut(at / 64) else { return false };
        let bit = 1 << (at % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}
