//! Page tables of an IOMMU beside what others keep such mappings in: pages of 4 KiB mapped one by one,
//! looked up, and unmapped, in random order, to frames of which no two follow each other.
//!
//! Every one is asked the same in the same order and must give the same answers. What is timed is this
//! thread's processor time, since whatever else runs would be counted otherwise.

mod offset_page_table;
mod ours;
mod trees;

use std::hint::black_box;

use anyhow::{Result, ensure};
use rustix::time::{ClockId, clock_gettime};

pub(crate) use trees::Tree as Trees;

use crate::order::shuffled;
use crate::report::{Row, median};
use crate::settings::Settings;

/// Something that translates pages, known by number, to frames.
pub(crate) trait Subject {
    /// What it is called.
    const NAME: &'static str;
    /// Whether it does as much as ours to map and unmap.
    const DOES_AS_MUCH: bool = true;

    /// With room for so many pages.
    fn new(pages: u64) -> Result<Self>
    where
        Self: Sized;

    /// Maps a page that is not mapped.
    fn map(&mut self, page: u64, frame: u64);

    /// The frame of a page that a device wants to write to.
    fn lookup(&mut self, page: u64) -> Option<u64>;

    /// Unmaps a page that is mapped.
    fn unmap(&mut self, page: u64);

    /// Finishes what of that was put off.
    fn finish(&mut self) {}
}

/// Nanoseconds each of a map, a lookup and an unmapping.
pub(crate) type Times = [f64; 3];

const SIZES: [(u64, &str); 3] = [(1 << 10, "1k"), (1 << 16, "64k"), (1 << 20, "1M")];
/// What a lookup may take: so many mappings, so many nanoseconds.
const GOALS: [(u64, f64, &str); 2] =
    [(1 << 16, 5.0, "5 ns at most"), (1 << 20, 20.0, "20 ns at most")];

/// Measures all sizes beside all peers.
pub(crate) fn run(settings: &Settings) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (pages, size) in SIZES {
        let mut all = compare::<ours::Ours, offset_page_table::Offset>(
            settings, "tables", pages, size, &mut rows,
        )?;
        all.extend(compare::<ours::Ours, Trees>(settings, "tables", pages, size, &mut rows)?);
        all.extend(compare::<ours::Ours, trees::Ranges>(
            settings, "tables", pages, size, &mut rows,
        )?);
        all.extend(compare::<ours::Ours, trees::Iotlb>(
            settings, "tables", pages, size, &mut rows,
        )?);
        let lookups: Vec<f64> = all.iter().map(|times| times[1]).collect();
        for (_, goal, name) in GOALS.iter().filter(|(goal_pages, ..)| *goal_pages == pages) {
            let bench = format!("tables/lookup-{size}");
            let most = [*goal];
            rows.push(Row::of_times(bench, "ns", &lookups, (*name, &most), Some(1.0)));
        }
    }
    let (pages, size) = SIZES[1];
    let work = Work::new(pages);
    rows.push(readers(settings, &work, size)?);
    Ok(rows)
}

/// One peer, in turn with ours; returns ours.
pub(crate) fn compare<O: Subject, P: Subject>(
    settings: &Settings,
    name: &str,
    pages: u64,
    size: &str,
    rows: &mut Vec<Row>,
) -> Result<Vec<Times>> {
    let work = Work::new(pages);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=settings.rounds {
        settings.stop_if_asked()?;
        ours.push(work.times::<O>(settings)?);
        theirs.push(work.times::<P>(settings)?);
        eprintln!("{name}/{size} beside {}: round {round} of {}", P::NAME, settings.rounds);
    }
    for (which, operation) in ["map", "lookup", "unmap"].iter().enumerate() {
        let of = |all: &[Times]| all.iter().map(|times| times[which]).collect::<Vec<f64>>();
        let bench = format!("{name}/{operation}-{size}");
        // A peer that neither counts entries nor gives tables back does less when it changes any.
        let goal = (P::DOES_AS_MUCH || *operation == "lookup").then_some(1.0);
        rows.push(Row::of_times(bench, "ns", &of(&ours), (P::NAME, &of(&theirs)), goal));
    }
    Ok(ours)
}

/// A lookup by a thread that is not the writer, each by itself: coming, looking, leaving; beside a
/// lock around a tree.
fn readers(settings: &Settings, work: &Work, size: &str) -> Result<Row> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        settings.stop_if_asked()?;
        ours.push(work.times::<ours::Visits>(settings)?[1]);
        theirs.push(work.times::<trees::LockedIotlb>(settings)?[1]);
    }
    let peer = (trees::LockedIotlb::NAME, theirs.as_slice());
    Ok(Row::of_times(format!("tables/visit-{size}"), "ns", &ours, peer, Some(1.0)))
}

/// What is asked of everyone.
struct Work {
    map: Vec<(u64, u64)>,
    lookup: Vec<u64>,
    unmap: Vec<u64>,
}

impl Work {
    fn new(pages: u64) -> Self {
        let frames = shuffled(pages, 1);
        let map = shuffled(pages, 2).into_iter().zip(frames).collect();
        Self { map, lookup: shuffled(pages, 3), unmap: shuffled(pages, 4) }
    }

    /// The median of as many passes as there is work for.
    fn times<S: Subject>(&self, settings: &Settings) -> Result<Times> {
        let pages = self.map.len();
        let wanted = if settings.quick { 1 << 17 } else { 1 << 19 };
        let mut subject = S::new(pages as u64)?;
        // The first time it takes its memory from the system.
        self.pass(&mut subject)?;
        let passes = (wanted / pages).max(1);
        let all = (0..passes).map(|_| self.pass(&mut subject)).collect::<Result<Vec<Times>>>()?;
        let of = |which: usize| median(&all.iter().map(|times| times[which]).collect::<Vec<_>>());
        Ok([of(0), of(1), of(2)])
    }

    fn pass<S: Subject>(&self, subject: &mut S) -> Result<Times> {
        let map = time(self.map.len(), || {
            self.map.iter().for_each(|&(page, frame)| subject.map(black_box(page), frame));
        });
        let mut sum = 0_u64;
        let lookup = time(self.lookup.len(), || {
            for &page in &self.lookup {
                sum = sum.wrapping_add(subject.lookup(black_box(page)).unwrap_or(u64::MAX));
            }
        });
        let unmap = time(self.unmap.len(), || {
            self.unmap.iter().for_each(|&page| subject.unmap(black_box(page)));
            subject.finish();
        });
        let right = self.map.iter().fold(0_u64, |sum, (_, frame)| sum.wrapping_add(*frame));
        ensure!(sum == right, "{}: frames that were never mapped", S::NAME);
        ensure!(subject.lookup(self.unmap[0]).is_none(), "{}: it is mapped still", S::NAME);
        Ok([map, lookup, unmap])
    }
}

/// Nanoseconds of this thread's processor time for each of `count`.
#[expect(clippy::cast_precision_loss, reason = "a time for people to read")]
pub(crate) fn time(count: usize, work: impl FnOnce()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
    };
    let begin = now();
    work();
    (now() - begin) / count as f64
}
