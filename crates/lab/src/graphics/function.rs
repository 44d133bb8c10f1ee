//! The function as software sees it: config space and two BARs over the memory behind them.

use std::collections::{BTreeMap, BTreeSet};

use super::PAGE;
use super::account::Account;
use super::config::{Asked, Config, mirrors};
use super::defect::Defect;
use super::design::{Behind, Design};
use super::entry::Translation;
use super::memory::{Foreign, Memory};
use ringfence_addr::Hpa;

/// `GFX_FLSH_CNTL_GEN6`, and its bit that does it.
const FLUSH: usize = 0x10_1008;
const FLUSH_NOW: u8 = 1;
/// How many entries firmware's framebuffer has, and how far apart from it a leftover of its stands.
const FRAMEBUFFER_ENTRIES: usize = 64;
const LEFTOVER_ENTRY: usize = 300;
/// Memory that is not the device's.
const FOREIGN_PAGE: Hpa = Hpa::new(0x1234_5000);

/// A graphics function.
#[derive(Clone, Debug)]
pub struct Graphics {
    design: &'static Design,
    defect: Option<Defect>,
    pub(super) config: Config,
    registers: BTreeMap<usize, u32>,
    page_table: Vec<u8>,
    /// The page table as it was at the start, for [`Defect::EntriesDoNotReturn`].
    first_page_table: Vec<u8>,
    /// What the pages of the aperture are until the next flush.
    translations: Vec<Option<Translation>>,
    /// Pages of BAR 2 with something behind them.
    reachable: BTreeSet<usize>,
    pub(super) memory: Memory,
    account: Account,
    snapshots: BTreeMap<u8, Snapshot>,
}

/// What a function was like at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its stolen memory, WOPCM at the end.
    pub data: Vec<u8>,
    /// The page table.
    pub page_table: Vec<u8>,
    /// PCI's command register.
    pub command: u16,
    /// Pages of others that were written, by their first addresses.
    pub foreign: BTreeMap<Hpa, Box<[u8; PAGE]>>,
    /// What had been done to it.
    pub account: Account,
}

impl Graphics {
    /// A function as firmware leaves it.
    pub fn new(design: &'static Design, defect: Option<Defect>) -> Self {
        let mut registers: BTreeMap<_, _> = design.registers.iter().copied().collect();
        registers.extend(mirrors(design, defect));
        let mut this = Self {
            design,
            defect,
            config: Config::new(design, defect),
            registers,
            page_table: vec![0; design.bar0_bytes - design.page_table_at],
            first_page_table: Vec::new(),
            translations: Vec::new(),
            reachable: BTreeSet::new(),
            memory: Memory::new(design, defect),
            account: Account::default(),
            snapshots: BTreeMap::new(),
        };
        for page in 0..FRAMEBUFFER_ENTRIES {
            let at = design.data.get() + (page * PAGE) as u64;
            this.set_entry(page, Hpa::new(at));
        }
        let last = this.aperture_pages().saturating_sub(1);
        for entry in [LEFTOVER_ENTRY, last, this.page_table.len() / design.entry_bytes() - 1] {
            this.set_entry(entry, FOREIGN_PAGE);
        }
        if defect == Some(Defect::EntriesDoNotReturn) {
            this.first_page_table.clone_from(&this.page_table);
        }
        this.translate();
        this
    }

    /// Its design.
    pub fn design(&self) -> &'static Design {
        self.design
    }

    /// What is broken about it.
    pub fn defect(&self) -> Option<Defect> {
        self.defect
    }

    /// What was done to it so far.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What it is like now.
    pub fn now(&self) -> Snapshot {
        Snapshot {
            data: self.memory.data().to_vec(),
            page_table: self.page_table.clone(),
            command: self.config.command(),
            foreign: Foreign::clone(self.memory.foreign()),
            account: self.account.clone(),
        }
    }

    /// What it was like when this was written to the mark in config space, last.
    pub fn at_mark(&self, mark: u8) -> Option<&Snapshot> {
        self.snapshots.get(&mark)
    }

    /// Reads config space.
    pub fn config_read(&self, offset: u64, data: &mut [u8]) {
        self.config.read(offset, data);
    }

    /// Writes config space.
    pub fn config_write(&mut self, offset: u64, data: &[u8]) {
        match self.config.write(offset, data) {
            Asked::Nothing => {}
            Asked::Reset => self.reset(),
            Asked::Mark(mark) => {
                self.snapshots.insert(mark, self.now());
            }
        }
    }

    /// A function-level reset. Nothing says that it clears the memory or the page table.
    pub fn reset(&mut self) {
        self.config.reset();
        self.translate();
    }

    /// Whether a write to BAR 0 changes what the aperture shows.
    pub fn is_flush(&self, offset: usize, data: &[u8]) -> bool {
        let at = FLUSH.checked_sub(offset).and_then(|at| data.get(at));
        at.is_some_and(|byte| byte & FLUSH_NOW != 0)
    }

    /// Reads bytes of BAR 0.
    pub fn bar0_read(&mut self, offset: usize, data: &mut [u8]) {
        if !self.config.is_decoding() || self.defect == Some(Defect::Dead) {
            self.account.undecoded += u64::from(!self.config.is_decoding());
            data.fill(0xff);
        } else if let Some(at) = offset.checked_sub(self.design.page_table_at) {
            self.note_odd(at, data.len());
            copy_or(data, self.page_table.get(at..), 0xff);
        } else {
            for (byte, at) in data.iter_mut().zip(offset..) {
                let register = self.registers.get(&(at & !3)).copied().unwrap_or(0);
                *byte = register.to_le_bytes()[at & 3];
            }
        }
    }

    /// Writes bytes of BAR 0.
    pub fn bar0_write(&mut self, offset: usize, data: &[u8]) {
        if !self.config.is_decoding() {
            self.account.undecoded += 1;
        } else if self.defect == Some(Defect::Dead) {
            // It takes nothing.
        } else if let Some(at) = offset.checked_sub(self.design.page_table_at) {
            self.note_odd(at, data.len());
            self.account.entry_writes += 1;
            let end = self.page_table.len().min(at + data.len());
            let data = &data[..end - at];
            let is_lost = match self.defect {
                Some(Defect::EntriesLockAfter(most)) => self.account.entry_writes > most,
                Some(Defect::EntriesDoNotReturn) => self.first_page_table[at..end] == *data,
                _ => false,
            };
            if !is_lost {
                self.page_table[at..end].copy_from_slice(data);
            }
        } else if offset & !3 == FLUSH && data.len() <= 4 {
            if self.is_flush(offset, data) {
                self.account.flushes += 1;
                if self.defect != Some(Defect::FlushIgnored) {
                    self.translate();
                }
            }
        } else {
            self.account.register_writes += 1;
        }
    }

    /// Reads bytes of BAR 2.
    pub fn bar2_read(&mut self, offset: usize, data: &mut [u8]) {
        for (page, at, range) in pieces(offset, data.len()) {
            let piece = &mut data[range];
            match self.reach(page) {
                Some(reached) => {
                    self.memory.read(reached.page, at, piece, &mut self.account);
                }
                None => {
                    *self.missed(false) += 1;
                    piece.fill(0xff);
                }
            }
        }
    }

    /// Writes bytes of BAR 2.
    pub fn bar2_write(&mut self, offset: usize, data: &[u8]) {
        for (page, at, range) in pieces(offset, data.len()) {
            match self.reach(page) {
                Some(reached) => {
                    self.memory.write(reached, at, &data[range], &mut self.account);
                }
                None => *self.missed(true) += 1,
            }
        }
    }

    /// Pages of BAR 2 with something behind them.
    pub(super) fn reachable(&self) -> &BTreeSet<usize> {
        &self.reachable
    }

    /// What a page of BAR 2 shows, looked at from outside.
    pub(super) fn look(&self, page: usize) -> Box<[u8; PAGE]> {
        let mut bytes = Box::new([0xff; PAGE]);
        if let Some(reached) = self.behind(page) {
            self.memory.read(reached.page, 0, &mut *bytes, &mut Account::default());
        }
        bytes
    }

    /// Brings what was written to a page of BAR 2 that was mapped to where it belongs.
    pub(super) fn bring(&mut self, page: usize, bytes: &[u8; PAGE]) {
        if let Some(reached) = self.behind(page) {
            self.memory.write(reached, 0, bytes, &mut self.account);
        }
    }

    /// Whether bytes of BAR 2 show memory that one of these pages shows, too.
    pub(super) fn is_shared(&self, offset: usize, length: usize, pages: &[usize]) -> bool {
        let shown = |page| self.behind(page).map(|reached| reached.page);
        let mut own = pieces(offset, length).filter_map(|(page, ..)| shown(page));
        own.any(|own| pages.iter().any(|page| shown(*page) == Some(own)))
    }

    /// Counts a write that came to a page of BAR 2 with nothing behind it.
    pub(super) fn note_lost_write(&mut self) {
        *self.missed(true) += 1;
    }

    /// What is behind a page of BAR 2 when it is accessed.
    fn reach(&mut self, page: usize) -> Option<Translation> {
        if !self.config.is_decoding() {
            self.account.undecoded += 1;
            return None;
        }
        self.behind(page)
    }

    fn behind(&self, page: usize) -> Option<Translation> {
        match self.design.behind {
            Behind::PageTable => self.translations.get(page).copied().flatten(),
            Behind::Memory { at } => {
                let offset = (page * PAGE).checked_sub(at)?;
                let offset = (offset < self.design.data_bytes).then_some(offset)?;
                let page = Hpa::new(self.design.data.get() + offset as u64);
                Some(Translation { page, is_writable: true })
            }
        }
    }

    /// The counter of accesses that find nothing.
    fn missed(&mut self, is_write: bool) -> &mut u64 {
        match self.design.behind {
            Behind::Memory { .. } => &mut self.account.beyond_accesses,
            Behind::PageTable if is_write => &mut self.account.invalid_writes,
            Behind::PageTable => &mut self.account.invalid_reads,
        }
    }

    fn note_odd(&mut self, at: usize, length: usize) {
        if !matches!(length, 4 | 8) || !at.is_multiple_of(length) {
            self.account.odd_accesses += 1;
        }
    }

    fn aperture_pages(&self) -> usize {
        match self.design.behind {
            Behind::PageTable => self.design.bar2_bytes / PAGE,
            Behind::Memory { .. } => 0,
        }
    }

    fn set_entry(&mut self, entry: usize, page: Hpa) {
        let bytes = self.design.entry_bytes();
        let value = self.design.entries.encode(page).to_le_bytes();
        self.page_table[entry * bytes..][..bytes].copy_from_slice(&value[..bytes]);
    }

    /// Brings translations up to date.
    fn translate(&mut self) {
        let format = self.design.entries;
        let entries = self.page_table.chunks_exact(format.bytes()).take(self.aperture_pages());
        self.translations = entries
            .map(|bytes| {
                let mut entry = [0; 8];
                entry[..bytes.len()].copy_from_slice(bytes);
                format.decode(u64::from_le_bytes(entry))
            })
            .collect();
        self.reachable = match self.design.behind {
            Behind::PageTable => {
                let valid = self.translations.iter().enumerate();
                valid.filter(|(_, entry)| entry.is_some()).map(|(page, _)| page).collect()
            }
            Behind::Memory { at } => (at / PAGE..(at + self.design.data_bytes) / PAGE).collect(),
        };
    }
}

/// `data` as far as there is something, `rest` behind it.
fn copy_or(data: &mut [u8], from: Option<&[u8]>, rest: u8) {
    let from = from.unwrap_or_default();
    let length = from.len().min(data.len());
    data[..length].copy_from_slice(&from[..length]);
    data[length..].fill(rest);
}

/// The pages that bytes lie in: the page, where in it, and which of the bytes.
fn pieces(
    offset: usize,
    length: usize,
) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let place = offset.checked_add(done)?;
        let (page, at) = (place / PAGE, place % PAGE);
        let first = done;
        done = length.min(done + PAGE - at);
        (first < done).then_some((page, at, first..done))
    })
}
