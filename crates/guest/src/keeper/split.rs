//! A page given back while a device has it: two memories under one name, unless somebody counts.

use ringfence_addr::{Iova, Rights};
use ringfence_iommu::raw;
use ringfence_ledger::Which;

use crate::copier::Copier;
use crate::owned::Owned;
use crate::pins::locked_kib;
use crate::told::{PAGE, bus, gpa, reached, refused, retirement};
use crate::world::World;
use crate::writer::Writer;

const SECRET: u32 = 0x0bad_cafe;

pub(crate) fn run() -> Result<(), String> {
    read_back()?;
    let writer = Writer::open()?;
    without(&writer)?;
    with(writer)
}

/// What a device that copies finds where its owner reads zero.
fn read_back() -> Result<(), String> {
    let copier = Copier::open()?;
    let owned = Owned::new(4)?;
    let container = copier.function.container();
    raw::map(container, bus(0x100, 4), &owned.memory, 0, Rights::READ_WRITE)
        .map_err(|errno| errno.to_string())?;
    let page = |number: u64| Iova::new((0x100 + number) * PAGE);
    owned.set(1, SECRET)?;
    copier.load(page(1))?;
    copier.store(page(0))?;
    println!("edu wrote, its owner reads {:#x}", owned.word(0)?);
    owned.punch(0)?;
    println!("given back by nobody's leave, its owner reads {:#x}", owned.word(0)?);
    copier.load(page(0))?;
    copier.store(page(2))?;
    println!("edu reads {:#x}", owned.word(2)?);
    println!("locked for it: {} KiB", locked_kib()?);
    raw::unmap_all(container).map_err(|errno| errno.to_string())?;
    println!("and then: {} KiB", locked_kib()?);
    Ok(())
}

/// The same with a device that writes at once.
fn without(writer: &Writer) -> Result<(), String> {
    let owned = Owned::new(4)?;
    let container = writer.function.container();
    let at = Iova::new(0x100 * PAGE);
    raw::map(container, bus(0x100, 1), &owned.memory, 0, Rights::READ_WRITE)
        .map_err(|errno| errno.to_string())?;
    println!("without the ledger: {}", writer.write(at, &owned)?);
    owned.punch(0)?;
    println!("given back: {}", writer.write(at, &owned)?);
    raw::unmap_all(container).map(drop).map_err(|errno| errno.to_string())
}

/// The same by an account.
fn with(writer: Writer) -> Result<(), String> {
    let mut world = World::with(writer, 4)?;
    world.map_one(world.wish(0, 1, 0x100))?;
    println!("with the ledger: {}", world.write(0x100)?);
    let answer = world.account.retire(world.owner, gpa(0, 1), None).map_err(refused)?;
    println!("giving back: {}", retirement(&answer));
    println!("still: {}", world.write(0x100)?);
    println!("unmapping: {}", reached(world.unmap_one(Which::At(bus(0x100, 1)))));
    let answer = world.account.retire(world.owner, gpa(0, 1), None).map_err(refused)?;
    println!("giving back: {}; its owner reads {:#x}", retirement(&answer), world.owned.word(0)?);
    println!("then: {}", world.write(0x100)?);
    let again = world.map(&[world.wish(0, 1, 0x100)]).remove(0);
    println!("mapping it: {}", crate::told::code(again));
    world.account.take_again(world.owner, gpa(0, 1)).map_err(refused)?;
    let again = world.map(&[world.wish(0, 1, 0x100)]).remove(0);
    println!("taken again: {}, {}", crate::told::code(again), world.write(0x100)?);
    Ok(())
}
