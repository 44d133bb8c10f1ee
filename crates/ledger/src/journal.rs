//! What is written down of every mapping, so that whoever comes after a crash knows what devices reach.
//!
//! Each mapping has a slot of 64 bytes, at the place its handle has. The slot is written before the
//! mapping's order is carried out, and emptied when its memory is let go; what is found in slots is
//! thus never less than what any device reaches. There is no log to replay or to compact, and a record
//! costs one cache line.
//!
//! ```text
//!  0  check     4  place    8  generation   12  rights, appears, has a bus address
//! 16  holder   24  owner   32  memory       40  last of memory    48  bus address   56  zero
//! ```
//!
//! A slot that was cut short by a crash has the wrong check and counts as empty: its order was not
//! carried out yet. Whoever reads slots believes nothing of them but that: they may be from a broken or
//! hostile process.

use ringfence_addr::{Gpa, Iova, Rights, Span};

use crate::count::Appears;
use crate::id::{Handle, Holder, Id, Owner};
use crate::mapping::{Entry, Phase};

/// How long a slot is.
pub const SLOT_BYTES: usize = 64;

/// What stands in one place of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot([u8; SLOT_BYTES]);

/// What was found in a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Mappings that may be reached: all are to be treated as being in quarantine.
    pub mappings: Vec<Entry>,
    /// How many slots are neither empty nor whole: orders that were never carried out, or damage.
    pub damaged: usize,
}

/// Marks a slot as one of ours, and of this layout.
const MAGIC: u32 = 0x5246_4a31;

impl Slot {
    /// Nothing.
    pub const EMPTY: Self = Self([0; SLOT_BYTES]);

    /// What is written down of a mapping when it begins.
    #[inline]
    pub fn of(entry: &Entry) -> Self {
        let mut words = [0_u64; SLOT_BYTES / 8];
        let flags = u64::from(rights_bits(entry.rights))
            | u64::from(appears_bits(entry.appears)) << 8
            | u64::from(entry.bus.is_some()) << 16;
        let two = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let id = |id: Id| two(id.place(), id.generation());
        words[0] = two(0, entry.handle.0.place());
        words[1] = u64::from(entry.handle.0.generation()) | flags << 32;
        words[2] = id(entry.holder.0);
        words[3] = id(entry.owner.0);
        words[4] = entry.memory.first().get();
        words[5] = entry.memory.last().get();
        words[6] = entry.bus.map_or(0, |bus| bus.first().get());
        words[0] |= u64::from(check(&words));
        let mut bytes = [0; SLOT_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Self(bytes)
    }

    /// As it stands in the journal: written from the end to the start, so that the check comes last.
    pub fn bytes(&self) -> &[u8; SLOT_BYTES] {
        &self.0
    }

    /// Where in the journal a mapping's slot is, in bytes.
    pub fn offset(handle: Handle) -> u64 {
        u64::from(handle.0.place()) * SLOT_BYTES as u64
    }
}

/// Reads a journal.
///
/// What is at the end and no whole slot is not read; a slot counts only in the place it was made for.
pub fn read(journal: &[u8]) -> Found {
    let mut found = Found::default();
    for (place, bytes) in (0_u32..).zip(journal.chunks_exact(SLOT_BYTES)) {
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        match entry(place, bytes) {
            Some(entry) => found.mappings.push(entry),
            None => found.damaged += 1,
        }
    }
    found
}

fn entry(place: u32, bytes: &[u8]) -> Option<Entry> {
    let mut words = [0_u64; SLOT_BYTES / 8];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    let [said, own] = halves(words[0]);
    words[0] = u64::from(own) << 32;
    if own != place || said != check(&words) {
        return None;
    }
    let [generation, flags] = halves(words[1]);
    let id = |word| {
        let [place, generation] = halves(word);
        Id::of(place, generation)
    };
    let [rights, appears, has_bus, rest] = flags.to_le_bytes();
    let memory = Span::new(Gpa::new(words[4]), Gpa::new(words[5]))?;
    let bus = match has_bus {
        0 if words[6] == 0 => None,
        1 => Some(memory.rebase(Iova::new(words[6]))?),
        _ => return None,
    };
    let appears = Appears::ALL.into_iter().find(|one| appears_bits(*one) == appears)?;
    let rights = [Rights::READ, Rights::WRITE, Rights::READ_WRITE]
        .into_iter()
        .find(|one| rights_bits(*one) == rights)?;
    let is_clean = rest == 0 && words[7] == 0 && appears.device() == bus.is_some();
    is_clean.then_some(Entry {
        handle: Handle(Id::of(place, generation)),
        holder: Holder(id(words[2])),
        owner: Owner(id(words[3])),
        memory,
        bus,
        rights,
        appears,
        phase: Phase::Quarantined,
    })
}

fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

fn rights_bits(rights: Rights) -> u8 {
    u8::from(rights.allows(Rights::READ)) | u8::from(rights.allows(Rights::WRITE)) << 1
}

fn appears_bits(appears: Appears) -> u8 {
    u8::from(appears.device()) | u8::from(appears.host()) << 1
}

/// Tells a whole slot from a torn one; never zero. No step waits for another but the last.
#[inline]
fn check(words: &[u64; SLOT_BYTES / 8]) -> u32 {
    let fold = |one: u64, other: u64| {
        let product = u128::from(one) * u128::from(other);
        let [low, high] = [product & u128::from(u64::MAX), product >> 64];
        u64::try_from(low ^ high).expect("64 bits")
    };
    let [a, b, c, d, e, f, g, h] = *words;
    let mixed = fold(a ^ 0x9e37_79b9_7f4a_7c15, b ^ 0xbf58_476d_1ce4_e5b9)
        ^ fold(c ^ 0x94d0_49bb_1331_11eb, d ^ 0xd6e8_feb8_6659_fd93).rotate_left(13)
        ^ fold(e ^ 0xa076_1d64_78bd_642f, f ^ 0xe703_7ed1_a0b4_28db).rotate_left(29)
        ^ fold(g ^ 0x8ebc_6af0_9c88_c6e3, h ^ u64::from(MAGIC)).rotate_left(43);
    let [low, high] = halves(mixed);
    (low ^ high) | 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_entry() -> impl Strategy<Value = Entry> {
        let id = || (0..200_u32, any::<u32>()).prop_map(|(place, of)| Id::of(place, of));
        let memory = (0..1_u64 << 40, 1..1_u64 << 20);
        let shape = (0..3_usize, 0..3_usize, any::<u32>());
        (id(), id(), id(), memory, shape).prop_map(|(handle, holder, owner, memory, shape)| {
            let memory =
                Span::from_parts(Gpa::new(memory.0 << 12), memory.1 << 12).expect("a span");
            let appears = Appears::ALL[shape.0];
            let bus = memory.rebase(Iova::new(u64::from(shape.2) << 12)).expect("a span");
            Entry {
                handle: Handle(handle),
                holder: Holder(holder),
                owner: Owner(owner),
                memory,
                bus: appears.device().then_some(bus),
                rights: [Rights::READ, Rights::WRITE, Rights::READ_WRITE][shape.1],
                appears,
                phase: Phase::Quarantined,
            }
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_in_its_place_and_in_no_other(entry in some_entry()) {
            let place = usize::try_from(Slot::offset(entry.handle)).expect("few");
            let mut journal = vec![0; place + 3 * SLOT_BYTES];
            journal[place..][..SLOT_BYTES].copy_from_slice(Slot::of(&entry).bytes());
            prop_assert_eq!(read(&journal).mappings, [entry]);
            journal.rotate_right(SLOT_BYTES);
            prop_assert_eq!(read(&journal), Found { mappings: Vec::new(), damaged: 1 });
        }

        /// Written from the end, over what was there or over nothing, and cut anywhere.
        #[test]
        fn a_torn_slot_is_never_taken_for_another(
            old in prop::option::of(some_entry()),
            new in some_entry(),
            written in 0..SLOT_BYTES,
        ) {
            let place = usize::try_from(Slot::offset(new.handle)).expect("few");
            let old = old.map(|old| Entry { handle: new.handle, ..old });
            let mut journal = vec![0; place + SLOT_BYTES];
            let slot = &mut journal[place..];
            slot.copy_from_slice(old.map_or(Slot::EMPTY, |old| Slot::of(&old)).bytes());
            let cut = SLOT_BYTES - written;
            slot[cut..].copy_from_slice(&Slot::of(&new).bytes()[cut..]);
            for found in read(&journal).mappings {
                prop_assert!(found == new || Some(found) == old);
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            read(&bytes);
        }
    }
}
