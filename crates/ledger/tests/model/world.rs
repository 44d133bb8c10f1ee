//! A ledger, its model, hardware, and the orders that are on their way.

use std::collections::BTreeMap;

use ringfence_addr::{Gpa, Iova, Span, SpanSet};
use ringfence_ledger::journal::{SLOT_BYTES, Slot, read};
use ringfence_ledger::{
    ClearOrder, Cleared, Entry, FRAME_BYTES, FenceOrder, FlushOrder, Flushed, Handle, Holder,
    Ledger, MapOrder, Owner, Phase, RemoveOrder, Removed, Rights,
};

use crate::hardware::{Hardware, pages};
use crate::plain::Plain;

pub(crate) const OWNERS: usize = 2;
pub(crate) const HOLDERS: usize = 3;
/// Frames of each owner that are used: around the end of the first shard, so that some mappings cross it.
pub(crate) const FIRST_PAGE: u64 = 506;
pub(crate) const PAGES: u64 = 12;
/// Bus addresses of each holder, in pages: around a boundary of tables, and with a hole.
pub(crate) const BUS_FIRST: u64 = 500;
pub(crate) const BUS_PAGES: u64 = 24;
pub(crate) const BUS_HOLE: u64 = 515;

pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) plain: Plain,
    pub(crate) hardware: Hardware,
    pub(crate) owners: Vec<Owner>,
    pub(crate) holders: Vec<Holder>,
    pub(crate) maps: Vec<MapOrder>,
    pub(crate) removes: Vec<RemoveOrder>,
    pub(crate) removed: Vec<Removed>,
    pub(crate) flushes: Vec<FlushOrder>,
    pub(crate) flushed: Vec<Flushed>,
    pub(crate) fences: Vec<FenceOrder>,
    /// Each with how often its holder was cleared then.
    pub(crate) clears: Vec<(ClearOrder, u64)>,
    pub(crate) cleared: Vec<(Cleared, u64)>,
    /// What whoever comes after a crash would find.
    pub(crate) journal: Vec<u8>,
    pub(crate) now: u64,
    pub(crate) faults: u64,
    /// The step that is late in this history: orders of that kind pile up.
    pub(crate) late: u64,
    random: u64,
}

pub(crate) fn page_span(first: u64, count: u64) -> Span<Gpa> {
    Span::from_parts(Gpa::new(first * FRAME_BYTES), count * FRAME_BYTES).expect("a span")
}

impl World {
    /// Owners have memory from frame `first_page` on: shards are counted from there.
    pub(crate) fn new(seed: u64, first_page: u64) -> Self {
        let mut ledger = Ledger::new();
        let mut plain = Plain::default();
        let mut owners = Vec::new();
        for name in ["red", "blue"].into_iter().take(OWNERS) {
            let owner = ledger.add_owner(name);
            let end = FIRST_PAGE + PAGES;
            ledger.add_memory(owner, page_span(first_page, end - first_page)).expect("memory");
            let memory = (first_page..end).collect();
            plain.owners.insert(owner, crate::plain::PlainOwner { memory, ..Default::default() });
            owners.push(owner);
        }
        plain.bus = (BUS_FIRST..BUS_FIRST + BUS_PAGES).filter(|page| *page != BUS_HOLE).collect();
        let bus: SpanSet<Iova> = plain
            .bus
            .iter()
            .filter_map(|page| Span::from_parts(Iova::new(page * FRAME_BYTES), FRAME_BYTES))
            .collect();
        let mut holders = Vec::new();
        for number in 0..HOLDERS {
            let home = owners[number % OWNERS];
            let holder = ledger.add_holder(home, format!("device {number}")).expect("a holder");
            ledger.set_space(holder, bus.clone()).expect("a space");
            plain.holders.insert(holder, crate::plain::PlainHolder::default());
            holders.push(holder);
        }
        let mut world = Self {
            ledger,
            plain,
            hardware: Hardware::default(),
            owners,
            holders,
            maps: Vec::new(),
            removes: Vec::new(),
            removed: Vec::new(),
            flushes: Vec::new(),
            flushed: Vec::new(),
            fences: Vec::new(),
            clears: Vec::new(),
            cleared: Vec::new(),
            journal: Vec::new(),
            now: 0,
            faults: 0,
            late: 0,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678,
        };
        world.late = world.pick(30);
        world
    }

    /// A number below `below` (SplitMix64).
    pub(crate) fn pick(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    /// A place below `count`.
    pub(crate) fn place(&mut self, count: usize) -> usize {
        usize::try_from(self.pick(count as u64)).expect("few")
    }

    pub(crate) fn chance(&mut self, of: u64) -> bool {
        self.pick(of) == 0
    }

    pub(crate) fn some_owner(&mut self) -> Owner {
        let place = self.place(self.owners.len());
        self.owners[place]
    }

    pub(crate) fn some_holder(&mut self) -> Holder {
        let place = self.place(self.holders.len());
        self.holders[place]
    }

    /// Takes a random one out.
    pub(crate) fn take<T>(&mut self, from: impl Fn(&mut Self) -> &mut Vec<T>) -> Option<T> {
        let count = from(self).len();
        let place = if count == 0 { return None } else { self.place(count) };
        Some(from(self).swap_remove(place))
    }

    /// Writes a slot of the journal.
    pub(crate) fn write_down(&mut self, handle: Handle, slot: Slot) {
        let place = usize::try_from(Slot::offset(handle)).expect("few");
        let needed = self.journal.len().max(place + SLOT_BYTES);
        self.journal.resize(needed, 0);
        self.journal[place..][..SLOT_BYTES].copy_from_slice(slot.bytes());
    }

    /// What a crash now would leave to be found is every mapping there is.
    fn check_journal(&self, entries: &BTreeMap<Handle, Entry>) -> Result<(), String> {
        let found = read(&self.journal);
        let known = entries.values().map(|it| Entry { phase: Phase::Quarantined, ..*it });
        let known: BTreeMap<_, _> = known.map(|it| (it.handle, it)).collect();
        let written: BTreeMap<_, _> = found.mappings.iter().map(|it| (it.handle, *it)).collect();
        if found.damaged == 0 && known == written {
            return Ok(());
        }
        Err(format!("the journal has {written:?}, not {known:?}"))
    }

    /// Everything that must hold between steps.
    pub(crate) fn check(&self) -> Result<(), String> {
        let entries: BTreeMap<_, Entry> =
            self.ledger.entries().map(|entry| (entry.handle, entry)).collect();
        if entries != self.plain.mappings {
            return Err(format!("mappings {entries:?}, not {:?}", self.plain.mappings));
        }
        if !self.journal.is_empty() {
            self.check_journal(&entries)?;
        }
        for owner in &self.owners {
            self.check_owner(*owner)?;
        }
        // What can be reached is counted.
        for &(owner, page, read, write) in self.hardware.reached_by_devices() {
            let counts = self.plain.counts(owner, page);
            if (read && counts.device_read == 0) || (write && counts.device_write == 0) {
                return Err(format!("a device reaches page {page} of {owner}: {counts:?}"));
            }
            if !self.plain.owners[&owner].memory.contains(&page) {
                return Err(format!("a device reaches page {page}, which {owner} gave back"));
            }
        }
        for &(owner, page, read, write) in self.hardware.reached_by_hosts() {
            let counts = self.plain.counts(owner, page);
            if (read && counts.host_read == 0) || (write && counts.host_write == 0) {
                return Err(format!("a process reaches page {page} of {owner}: {counts:?}"));
            }
        }
        self.holders.iter().try_for_each(|holder| self.check_table(*holder, &entries))
    }

    /// A frame's counts are the sum over the mappings that have it.
    fn check_owner(&self, owner: Owner) -> Result<(), String> {
        let mut charged = 0;
        for page in FIRST_PAGE..FIRST_PAGE + PAGES {
            let address = Gpa::new(page * FRAME_BYTES + 17);
            let found = self.ledger.counts(owner, address).map_err(|it| it.to_string())?;
            let expected = self.plain.counts(owner, page);
            if found != expected {
                return Err(format!("page {page} of {owner}: {found:?}, not {expected:?}"));
            }
            charged += u64::from(!expected.is_zero());
        }
        let found = self.ledger.charged_frames(owner).map_err(|it| it.to_string())?;
        if found != charged {
            return Err(format!("{owner} is charged {found} frames, not {charged}"));
        }
        Ok(())
    }

    /// A holder of which nothing is on its way has in its table exactly what is live.
    fn check_table(
        &self,
        holder: Holder,
        entries: &BTreeMap<ringfence_ledger::Handle, Entry>,
    ) -> Result<(), String> {
        let own: Vec<&Entry> = entries.values().filter(|it| it.holder == holder).collect();
        if self.plain.holders[&holder].is_fenced || own.iter().any(|it| it.phase != Phase::Live) {
            return Ok(());
        }
        let mut expected = BTreeMap::new();
        for entry in own {
            let Some(bus) = entry.bus else { continue };
            let first = bus.first().get() / FRAME_BYTES;
            let (read, write) =
                (entry.rights.allows(Rights::READ), entry.rights.allows(Rights::WRITE));
            for (place, page) in (first..).zip(pages(entry.memory)) {
                expected.insert(place, (entry.owner, page, read, write));
                let address = Iova::new(place * FRAME_BYTES + 5);
                let found = self.ledger.find(holder, address);
                if found.map(|it| it.handle) != Some(entry.handle) {
                    return Err(format!("{holder} finds {found:?} at page {place:#x}"));
                }
                let memory = Gpa::new(page * FRAME_BYTES + 5);
                let told = self.ledger.translate(holder, address);
                if told.map(|it| (it.owner, it.memory, it.rights))
                    != Some((entry.owner, memory, entry.rights))
                {
                    return Err(format!("{holder} is led to {told:?} at page {place:#x}"));
                }
            }
        }
        // And nothing leads anywhere but what is live.
        for place in BUS_FIRST - 1..=BUS_FIRST + BUS_PAGES {
            let told = self.ledger.translate(holder, Iova::new(place * FRAME_BYTES));
            if told.is_some() != expected.contains_key(&place) {
                return Err(format!("{holder} is led to {told:?} at page {place:#x}"));
            }
        }
        let table = self.hardware.table(holder);
        if table != expected {
            return Err(format!("the table of {holder} has {table:?}, not {expected:?}"));
        }
        Ok(())
    }
}
