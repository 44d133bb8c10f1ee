//! Our page tables, in VT-d's format with four levels, flushed and released after every unmapping.

use anyhow::Result;
use ringfence_addr::{Hpa, Iova, Rights, Span};
use ringfence_iommu::pages::{Arena, Level, PageTables, Reader, Stale, VtdSecondStage};

use super::Subject;

type Tables = PageTables<VtdSecondStage, Arena>;

fn tables(pages: u64) -> Result<Tables> {
    // A few above, and twice the lowest, which are used again a little later than they are left.
    let count = 8 + 2 * usize::try_from(pages.div_ceil(512))?;
    let arena = Arena::new(Hpa::new(0), count)?;
    Ok(PageTables::new(VtdSecondStage::with_levels(Level::FOUR)?, arena)?)
}

#[inline]
fn page_span(page: u64) -> Span<Iova> {
    Span::from_parts(Iova::new(page << 12), 0x1000).expect("below the end of the space")
}

#[inline]
fn settle(tables: &mut Tables, stale: Stale) {
    if let Ok(flushed) = stale.flush(|_| Ok::<_, ()>(())) {
        tables.release(flushed);
    }
}

/// By the writer itself.
pub(super) struct Ours(Tables);

impl Subject for Ours {
    const NAME: &'static str = "ours";

    fn new(pages: u64) -> Result<Self> {
        Ok(Self(tables(pages)?))
    }

    #[inline]
    fn map(&mut self, page: u64, frame: u64) {
        let mapped = self.0.map(page_span(page), Hpa::new(frame << 12), Rights::READ_WRITE);
        settle(&mut self.0, mapped.expect("nothing is mapped there"));
    }

    #[inline]
    fn lookup(&mut self, page: u64) -> Option<u64> {
        let leaf = self.0.lookup(Iova::new(page << 12))?;
        leaf.rights.allows(Rights::WRITE).then(|| leaf.frame.get() >> 12)
    }

    #[inline]
    fn unmap(&mut self, page: u64) {
        let stale = self.0.unmap(page_span(page), |_| ()).expect("it is mapped");
        settle(&mut self.0, stale);
    }
}

/// By a reader beside the writer, who comes and leaves for each lookup.
pub(super) struct Visits {
    ours: Ours,
    reader: Reader<VtdSecondStage>,
}

impl Subject for Visits {
    const NAME: &'static str = "ours, visited";

    fn new(pages: u64) -> Result<Self> {
        let ours = Ours::new(pages)?;
        let reader = ours.0.reader();
        Ok(Self { ours, reader })
    }

    fn map(&mut self, page: u64, frame: u64) {
        self.ours.map(page, frame);
    }

    #[inline]
    fn lookup(&mut self, page: u64) -> Option<u64> {
        let leaf = self.reader.enter().lookup(Iova::new(page << 12))?;
        leaf.rights.allows(Rights::WRITE).then(|| leaf.frame.get() >> 12)
    }

    fn unmap(&mut self, page: u64) {
        self.ours.unmap(page);
    }
}
