//! A peer of the same kind: the `x86_64` crate's `OffsetPageTable`, in this process's own memory.
#![expect(
    unsafe_code,
    reason = "the crate maps pages of the processor it runs on, for which it asks for a promise; here no processor ever walks the tables"
)]

use anyhow::Result;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB,
    Translate,
};
use x86_64::{PhysAddr, VirtAddr};

use super::Subject;

/// Tables, and those that were not given out yet.
pub(super) struct Offset {
    mapper: OffsetPageTable<'static>,
    pool: Pool,
}

/// Tables that stay where they are for as long as the process runs.
struct Pool(std::slice::IterMut<'static, PageTable>);

// SAFETY: each table is given out once, unused, and nothing else refers to it.
unsafe impl FrameAllocator<Size4KiB> for Pool {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let table: *mut PageTable = self.0.next()?;
        PhysFrame::from_start_address(PhysAddr::new(table.expose_provenance() as u64)).ok()
    }
}

impl Subject for Offset {
    const NAME: &'static str = "OffsetPageTable";
    const DOES_AS_MUCH: bool = false;

    fn new(pages: u64) -> Result<Self> {
        let count = 3 + usize::try_from(pages.div_ceil(1 << 9) + pages.div_ceil(1 << 18))?;
        let tables = vec![PageTable::new(); count].leak();
        let mut pool = Pool(tables.iter_mut());
        let Some(top) = pool.0.next() else { unreachable!("there are five at least") };
        // SAFETY: what is called physical here is an address of this process, so that the distance
        // between the two is zero.
        let mapper = unsafe { OffsetPageTable::new(top, VirtAddr::new(0)) };
        Ok(Self { mapper, pool })
    }

    #[inline]
    fn map(&mut self, page: u64, frame: u64) {
        let page = Page::<Size4KiB>::containing_address(VirtAddr::new(page << 12));
        let frame = PhysFrame::containing_address(PhysAddr::new(frame << 12));
        let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        // SAFETY: no processor walks these tables, so that nothing changes by what is mapped.
        let mapped = unsafe { self.mapper.map_to(page, frame, flags, &mut self.pool) };
        mapped.expect("nothing is mapped there").ignore();
    }

    #[inline]
    fn lookup(&mut self, page: u64) -> Option<u64> {
        let address = self.mapper.translate_addr(VirtAddr::new(page << 12))?;
        Some(address.as_u64() >> 12)
    }

    #[inline]
    fn unmap(&mut self, page: u64) {
        let page = Page::<Size4KiB>::containing_address(VirtAddr::new(page << 12));
        self.mapper.unmap(page).expect("it is mapped").1.ignore();
    }
}
