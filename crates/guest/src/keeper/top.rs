//! The last page of the space: what the kernel says it does with it, and what a device finds.

use ringfence_addr::{Address, Iova, Rights, Span};
use ringfence_iommu::raw;

use crate::owned::Owned;
use crate::pins::pinned;
use crate::told::{PAGE, code, kernel};
use crate::world::World;
use crate::writer::Writer;

pub(crate) fn run() -> Result<(), String> {
    let writer = Writer::open()?;
    let refused = World::with(writer.clone(), 1)?.map_top();
    println!("by an account: {refused}");
    let owned = Owned::new(1)?;
    let container = writer.function.container();
    let at = Iova::new(u64::MAX / PAGE * PAGE);
    let last = Span::new(at, Iova::LAST).ok_or("no page")?;
    let before = pinned()?;
    println!("by itself: {}", writer.write(at, &owned)?);
    for _ in 0..2 {
        let mapped = raw::map(container, last, &owned.memory, 0, Rights::READ_WRITE);
        let mapped = kernel(mapped.map(|()| 0));
        println!("the kernel maps it: {mapped}; {}", writer.write(at, &owned)?);
    }
    let unmapped = kernel(raw::unmap(container, last));
    println!("it unmaps it: {unmapped}; {}", writer.write(at, &owned)?);
    let unmapped = kernel(raw::unmap_all(container));
    println!("it unmaps all: {unmapped}; {}", writer.write(at, &owned)?);
    println!("pages left pinned: {}", pinned()? - before);
    Ok(())
}

impl World {
    fn map_top(mut self) -> String {
        let wish = self.wish(0, 1, u64::MAX / PAGE);
        code(self.map(&[wish]).remove(0))
    }
}
