//! The ledger: what it costs to count, and to write down, every mapping, beside trees of ranges that count
//! nothing; and what it promises by itself.

use anyhow::{Context, Result, anyhow};
use ringfence_addr::{Gpa, Iova, Rights, Span, SpanSet};
use ringfence_ledger::journal::{SLOT_BYTES, Slot};
use ringfence_ledger::{
    Answer, Appears, FRAME_BYTES, Holder, Ledger, MapOrder, Owner, Place, Removed, Retirement,
    Which, Wish,
};

use crate::report::Row;
use crate::settings::Settings;
use crate::tables::{Subject, Trees, compare, time};

const GIB: u64 = 1 << 30;

/// What is promised, in nanoseconds each: a mapping and an unmapping of one page among 64k.
const PAGE_NS: f64 = 60.0;
/// Looking up one page among 64k, and among a million.
const LOOKUP_NS: [(&str, f64); 2] = [("5 ns at most", 5.0), ("20 ns at most", 20.0)];
/// What the choice of a bus address costs beside a mapping at a given one, among a million.
const CHOSEN_NS: f64 = 50.0;
/// Whether 2 MiB are free.
const GATE_NS: f64 = 20.0;
/// Milliseconds: a VM of 1 TiB booked in pages, a dead holder of a million mappings settled.
const BOOKED_MS: f64 = 300.0;
const SETTLED_MS: f64 = 5.0;

/// A VM, a device that has all of it, and the journal beside.
struct Account {
    ledger: Ledger,
    owner: Owner,
    device: Holder,
    journal: Vec<u8>,
    /// What waits for its flush.
    removed: Vec<Removed>,
}

/// How many removed mappings are flushed and released at once.
const BATCH: usize = 256;

fn memory(first: u64, length: u64) -> Result<Span<Gpa>> {
    Span::from_parts(Gpa::new(first), length).context("no span")
}

fn refused(refusal: ringfence_refusal::Refusal) -> anyhow::Error {
    anyhow!("{refusal}")
}

impl Account {
    fn of(bytes: u64) -> Result<Self> {
        let mut ledger = Ledger::new();
        let owner = ledger.add_owner("a VM");
        let all = memory(0, bytes)?;
        ledger.add_memory(owner, all).map_err(refused)?;
        let device = ledger.add_holder(owner, "a device").map_err(refused)?;
        ledger.grant(device, all, Rights::READ_WRITE).map_err(refused)?;
        let bus = Span::from_parts(Iova::new(0), 1 << 48).context("no span")?;
        ledger.set_space(device, SpanSet::from(bus)).map_err(refused)?;
        Ok(Self { ledger, owner, device, journal: Vec::new(), removed: Vec::new() })
    }

    fn write_down(&mut self, handle: ringfence_ledger::Handle, slot: Slot) {
        let place = usize::try_from(Slot::offset(handle)).expect("it fits in memory");
        if self.journal.len() < place + SLOT_BYTES {
            self.journal.resize((place + SLOT_BYTES).next_power_of_two(), 0);
        }
        self.journal[place..][..SLOT_BYTES].copy_from_slice(slot.bytes());
    }

    fn wish(&self, first: u64, frame: u64, pages: u64) -> Wish {
        let memory = memory(frame * FRAME_BYTES, pages * FRAME_BYTES).expect("a span");
        Wish {
            owner: self.owner,
            memory,
            rights: Rights::READ_WRITE,
            place: Place::At(Iova::new(first * FRAME_BYTES)),
            appears: Appears::Device,
        }
    }

    fn map(&mut self, first: u64, frame: u64, pages: u64) {
        let wish = self.wish(first, frame, pages);
        let order = self.ledger.map(self.device, wish).expect("it may");
        self.make(order);
    }

    /// Writes one down and says that it was made.
    fn make(&mut self, order: MapOrder) {
        self.write_down(order.entry().handle, Slot::of(order.entry()));
        self.ledger.mapped(order).expect("it is not fenced");
    }

    fn unmap(&mut self, first: u64, pages: u64) {
        let bus = Span::from_parts(Iova::new(first * FRAME_BYTES), pages * FRAME_BYTES);
        let order = self.ledger.unmap(self.device, Which::At(bus.expect("a span"))).expect("live");
        let removed = self.ledger.removed(order, Answer::Bytes(pages * FRAME_BYTES)).expect("all");
        self.removed.push(removed);
        if self.removed.len() == BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let removed = std::mem::take(&mut self.removed);
        let (order, _) = self.ledger.flush(self.device, removed);
        let flushed = self.ledger.flushed(order);
        for handle in self.ledger.release(flushed).gone {
            self.write_down(handle, Slot::EMPTY);
        }
    }
}

impl Subject for Account {
    const NAME: &'static str = "ours";

    fn new(pages: u64) -> Result<Self> {
        Self::of(pages * FRAME_BYTES)
    }

    fn map(&mut self, page: u64, frame: u64) {
        self.map(page, frame, 1);
    }

    #[inline]
    fn lookup(&mut self, page: u64) -> Option<u64> {
        let told = self.ledger.translate(self.device, Iova::new(page * FRAME_BYTES))?;
        (told.owner == self.owner && told.rights.allows(Rights::WRITE))
            .then(|| told.memory.get() / FRAME_BYTES)
    }

    fn unmap(&mut self, page: u64) {
        self.unmap(page, 1);
    }

    fn finish(&mut self) {
        self.flush();
    }
}

/// The same in batches: as many wishes, and as many mappings to be removed, in one call.
struct Batches {
    account: Account,
    wishes: Vec<Wish>,
    which: Vec<Which>,
}

impl Subject for Batches {
    const NAME: &'static str = "ours, in batches";

    fn new(pages: u64) -> Result<Self> {
        let account = Account::of(pages * FRAME_BYTES)?;
        anyhow::ensure!(pages.is_multiple_of(BATCH as u64), "{pages} pages are no whole batches");
        Ok(Self { account, wishes: Vec::new(), which: Vec::new() })
    }

    fn map(&mut self, page: u64, frame: u64) {
        self.wishes.push(self.account.wish(page, frame, 1));
        if self.wishes.len() < BATCH {
            return;
        }
        let account = &mut self.account;
        for order in account.ledger.map_each(account.device, &self.wishes) {
            account.make(order.expect("it may"));
        }
        self.wishes.clear();
    }

    fn lookup(&mut self, page: u64) -> Option<u64> {
        self.account.lookup(page)
    }

    fn unmap(&mut self, page: u64) {
        let bus = Span::from_parts(Iova::new(page * FRAME_BYTES), FRAME_BYTES);
        self.which.push(Which::At(bus.expect("a span")));
        if self.which.len() < BATCH {
            return;
        }
        let account = &mut self.account;
        for order in account.ledger.unmap_each(account.device, &self.which) {
            let order = order.expect("live");
            let removed = account.ledger.removed(order, Answer::Bytes(FRAME_BYTES));
            account.removed.push(removed.expect("all"));
        }
        self.which.clear();
        account.flush();
    }
}

/// Measures all of it.
pub(crate) fn run(settings: &Settings) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (count, size, lookup) in
        [(1 << 10, "1k", None), (1 << 16, "64k", Some(0)), (1 << 20, "1M", Some(1))]
    {
        let times = compare::<Account, Trees>(settings, "ledger", count, size, &mut rows)?;
        if let Some((goal, most)) = lookup.and_then(|place: usize| LOOKUP_NS.get(place)) {
            let ours: Vec<f64> = times.iter().map(|times| times[1]).collect();
            let (bench, goal) = (format!("ledger/lookup-{size}"), (*goal, [*most]));
            rows.push(Row::of_times(bench, "ns", &ours, (goal.0, &goal.1), Some(1.0)));
        }
    }
    let (count, size) = (1 << 16, "64k-by-256");
    let pages = compare::<Batches, Trees>(settings, "ledger", count, size, &mut rows)?;
    for (which, operation) in [(0, "map"), (2, "unmap")] {
        let ours: Vec<f64> = pages.iter().map(|times| times[which]).collect();
        let bench = format!("ledger/{operation}-{size}");
        let goal = ("60 ns at most", [PAGE_NS].as_slice());
        rows.push(Row::of_times(bench, "ns", &ours, goal, Some(1.0)));
    }
    let ours = chosen(settings)?;
    let goal = ("50 ns at most", [CHOSEN_NS].as_slice());
    rows.push(Row::of_times("ledger/choose-1M".to_owned(), "ns", &ours, goal, Some(1.0)));
    let mut alone =
        |bench: &str, unit, goal: (&'static str, f64), work: &dyn Fn() -> Result<f64>| {
            let mut ours = Vec::new();
            for round in 1..=settings.rounds {
                settings.stop_if_asked()?;
                ours.push(work()?);
                eprintln!("ledger/{bench}: round {round} of {}", settings.rounds);
            }
            let goal = (goal.0, [goal.1]);
            let peer = (goal.0, goal.1.as_slice());
            rows.push(Row::of_times(format!("ledger/{bench}"), unit, &ours, peer, Some(1.0)));
            Ok::<(), anyhow::Error>(())
        };
    alone("book-1TiB", "ms", ("300 ms at most", BOOKED_MS), &book)?;
    alone("settle-1M", "ms", ("5 ms at most", SETTLED_MS), &settle)?;
    alone("gate-2MiB", "ns", ("20 ns at most", GATE_NS), &gate)?;
    Ok(rows)
}

/// What it costs more to have the bus address chosen, for the last 64k of a million mappings: the time
/// of a mapping at a chosen one less that of one at a given one.
fn chosen(settings: &Settings) -> Result<Vec<f64>> {
    let (all, last) = (1 << 20, 1 << 16);
    let mut times = Vec::new();
    for _ in 0..settings.rounds {
        settings.stop_if_asked()?;
        let mut measured = [0.0; 2];
        for (is_chosen, measured) in [false, true].into_iter().zip(&mut measured) {
            let mut account = Account::of(all * FRAME_BYTES)?;
            (0..all - last).for_each(|page| account.map(page, page, 1));
            *measured = time(usize::try_from(last)?, || {
                for page in all - last..all {
                    let wish = account.wish(page, page, 1);
                    let place = if is_chosen { Place::Chosen } else { wish.place };
                    let order = account.ledger.map(account.device, Wish { place, ..wish });
                    account.make(order.expect("it may"));
                }
            });
        }
        times.push((measured[1] - measured[0]).max(0.0));
    }
    Ok(times)
}

/// A VM of 1 TiB mapped by one call for each GiB, every page of it counted.
fn book() -> Result<f64> {
    let mut account = Account::of(1024 * GIB)?;
    let pages = GIB / FRAME_BYTES;
    let nanoseconds = time(1, || {
        (0..1024).for_each(|part| account.map(part * pages, part * pages, pages));
    });
    let charged = account.ledger.charged_frames(account.owner).map_err(refused)?;
    anyhow::ensure!(charged == 1024 * pages, "{charged} frames are charged");
    Ok(nanoseconds / 1e6)
}

/// A holder that died with a million mappings, from the flush on.
fn settle() -> Result<f64> {
    let pages = 1 << 20;
    let mut account = Account::of(pages * FRAME_BYTES)?;
    (0..pages).for_each(|page| account.map(page ^ 1, page, 1));
    let order = account.ledger.fence(account.device).map_err(refused)?.context("fenced before")?;
    let order = account.ledger.fenced(order);
    let cleared = account.ledger.cleared(order);
    let mut gone = 0;
    let nanoseconds = time(1, || gone = account.ledger.settle(cleared).gone.len());
    anyhow::ensure!(gone == 1 << 20, "{gone} mappings are gone");
    Ok(nanoseconds / 1e6)
}

/// Whether 2 MiB can be given back, for memory of which every other 2 MiB have a page that is mapped.
fn gate() -> Result<f64> {
    let large = 512;
    let mut account = Account::of(64 * GIB)?;
    let parts = 64 * GIB / (large * FRAME_BYTES);
    (0..parts / 2).for_each(|part| account.map(part, part * 2 * large + 7, 1));
    let mut free = 0_u64;
    let nanoseconds = time(usize::try_from(parts)?, || {
        for part in 0..parts {
            let span = memory(part * large * FRAME_BYTES, large * FRAME_BYTES).expect("a span");
            free += u64::from(account.ledger.is_idle(account.owner, span));
        }
    });
    anyhow::ensure!(free == parts / 2, "{free} of {parts} are free");
    let first = memory(large * FRAME_BYTES, large * FRAME_BYTES)?;
    let outcome = account.ledger.retire(account.owner, first, None).map_err(refused)?;
    anyhow::ensure!(outcome == Retirement::Free, "{outcome:?}");
    Ok(nanoseconds)
}
