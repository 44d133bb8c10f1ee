//! The kernel's 65,535 entries, used up, and not needed.

use ringfence_addr::Rights;
use ringfence_iommu::raw;
use ringfence_ledger::{Which, Wish};

use crate::owned::Owned;
use crate::told::{bus, code, kernel, reached, refused};
use crate::world::World;
use crate::writer::Writer;

const NEIGHBOURS: u64 = 70_000;

pub(crate) fn run() -> Result<(), String> {
    let writer = Writer::open()?;
    by_itself(&writer)?;
    joined(writer.clone())?;
    used_up(writer)
}

/// One page at a time, as a VMM that maps what its guest's IOMMU says.
fn by_itself(writer: &Writer) -> Result<(), String> {
    let owned = Owned::new(1)?;
    let container = writer.function.container();
    let mut count = 0;
    let errno = loop {
        let span = bus(0x1000 + 2 * count, 1);
        match raw::map(container, span, &owned.memory, 0, Rights::READ_WRITE) {
            Ok(()) => count += 1,
            Err(errno) => break errno,
        }
    };
    println!("by itself: {count} mappings, then {}", kernel::<u32>(Err(errno)));
    raw::unmap_all(container).map(drop).map_err(|errno| errno.to_string())
}

/// Neighbours, in one batch.
fn joined(writer: Writer) -> Result<(), String> {
    let mut world = World::with(writer, NEIGHBOURS)?;
    let wishes: Vec<Wish> =
        (0..NEIGHBOURS).map(|page| world.wish(page, 1, 0x1000 + page)).collect();
    let done = world.map(&wishes).iter().filter(|answer| answer.is_ok()).count();
    println!("neighbours: {done} mappings, {} entries", world.domain.type1().entries());
    let ends = [world.reaches(0x1000)?, world.reaches(0x1000 + NEIGHBOURS - 1)?];
    let behind = world.reaches(0x1000 + NEIGHBOURS)?;
    println!("first and last are reached: {ends:?}; what is behind: {behind}");
    world.account.holder_died(world.holder).map_err(refused)
}

/// Pages with gaps between them, in one batch: they share no entry.
fn used_up(writer: Writer) -> Result<(), String> {
    let mut world = World::with(writer, 8)?;
    let wishes: Vec<Wish> = (0..65_540).map(|n| world.wish(n % 8, 1, 0x1000 + 2 * n)).collect();
    let mut answers = world.map(&wishes);
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    let last = code(answers.remove(answers.len() - 1));
    println!("with gaps: {done} mappings, then {last}");
    println!("the last of them: {}", world.write(0x1000 + 2 * (done as u64 - 1))?);
    println!("unmapping one: {}", reached(world.unmap_one(Which::At(bus(0x1000, 1)))));
    println!("another: {}", code(world.map(&[world.wish(3, 1, 0x800)]).remove(0)));
    world.account.holder_died(world.holder).map_err(refused)?;
    println!("its holder gone: {}", world.reaches(0x800)?);
    Ok(())
}
