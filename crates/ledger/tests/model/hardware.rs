//! A plain IOMMU: tables, and what devices remember of them as long as they can.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::{Gpa, Iova, Span};
use ringfence_ledger::{Entry, FRAME_BYTES, Handle, Holder, Owner, Rights};

/// A frame that is reached, and how.
pub(crate) type Reached = (Owner, u64, bool, bool);

#[derive(Default)]
pub(crate) struct Hardware {
    /// By holder and page of its bus addresses.
    tables: BTreeMap<(Holder, u64), Reached>,
    /// What was once there and was not flushed since.
    remembered: BTreeMap<Holder, BTreeSet<(u64, Reached)>>,
    blocked: BTreeSet<Holder>,
    /// What is in a holder's own address space.
    hosts: BTreeMap<Handle, (Holder, Vec<Reached>)>,
}

pub(crate) fn pages(span: Span<Gpa>) -> impl Iterator<Item = u64> {
    span.first().get() / FRAME_BYTES..=span.last().get() / FRAME_BYTES
}

fn bus_pages(span: Span<Iova>) -> impl Iterator<Item = u64> {
    span.first().get() / FRAME_BYTES..=span.last().get() / FRAME_BYTES
}

fn reached(entry: &Entry) -> impl Iterator<Item = Reached> + '_ {
    let (read, write) = (entry.rights.allows(Rights::READ), entry.rights.allows(Rights::WRITE));
    pages(entry.memory).map(move |page| (entry.owner, page, read, write))
}

impl Hardware {
    /// Makes the first `count` pages of a mapping.
    pub(crate) fn map(&mut self, entry: &Entry, count: usize) {
        if let Some(bus) = entry.bus {
            for (page, reached) in bus_pages(bus).zip(reached(entry)).take(count) {
                self.tables.insert((entry.holder, page), reached);
                // Devices look everything up at once, and forget nothing.
                self.remembered.entry(entry.holder).or_default().insert((page, reached));
            }
        }
        if entry.appears.host() {
            let pages = reached(entry).take(count).collect();
            self.hosts.insert(entry.handle, (entry.holder, pages));
        }
    }

    /// Takes all but the first `left` pages of a mapping out.
    pub(crate) fn unmap(&mut self, entry: &Entry, left: usize) {
        for page in entry.bus.into_iter().flat_map(bus_pages).skip(left) {
            self.tables.remove(&(entry.holder, page));
        }
        if let Some((_, pages)) = self.hosts.get_mut(&entry.handle) {
            pages.truncate(left);
        }
    }

    pub(crate) fn flush(&mut self, holder: Holder, spans: impl Iterator<Item = Span<Iova>>) {
        let Some(remembered) = self.remembered.get_mut(&holder) else { return };
        for page in spans.flat_map(bus_pages) {
            let tables = &self.tables;
            remembered.retain(|(at, it)| *at != page || tables.get(&(holder, page)) == Some(it));
        }
    }

    pub(crate) fn block(&mut self, holder: Holder) {
        self.blocked.insert(holder);
    }

    pub(crate) fn unblock(&mut self, holder: Holder) {
        self.blocked.remove(&holder);
    }

    /// Empties all that the holder had.
    pub(crate) fn clear(&mut self, holder: Holder) {
        self.tables.retain(|(of, _), _| *of != holder);
        self.remembered.remove(&holder);
        self.hosts.retain(|_, (of, _)| *of != holder);
    }

    /// Every frame that some device reaches, or remembers.
    pub(crate) fn reached_by_devices(&self) -> impl Iterator<Item = &Reached> {
        let open = |holder: &Holder| !self.blocked.contains(holder);
        let tables = self.tables.iter().filter(move |((holder, _), _)| open(holder));
        let remembered = self.remembered.iter().filter(move |(holder, _)| open(holder));
        tables.map(|(_, it)| it).chain(remembered.flat_map(|(_, all)| all.iter().map(|(_, it)| it)))
    }

    pub(crate) fn reached_by_hosts(&self) -> impl Iterator<Item = &Reached> {
        self.hosts.values().flat_map(|(_, pages)| pages)
    }

    /// What a holder's table has, without what is remembered.
    pub(crate) fn table(&self, holder: Holder) -> BTreeMap<u64, Reached> {
        let own = self.tables.iter().filter(|((of, _), _)| *of == holder);
        own.map(|((_, page), reached)| (*page, *reached)).collect()
    }
}
