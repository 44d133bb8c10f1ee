//! A deadline that passes: the device is cut off, and its owner has the memory.

use ringfence_addr::{Iova, Rights};
use ringfence_iommu::{Event, Switch, raw};

use crate::copier::Copier;
use crate::owned::Owned;
use crate::told::{PAGE, bus, failed, gpa, refused, retirement};
use crate::world::World;

pub(crate) fn run() -> Result<(), String> {
    switched_off()?;
    let mut world = World::new(8)?;
    world.map_one(world.wish(0, 4, 0x100))?;
    println!("mapped: {}", world.write(0x101)?);
    let answer = world.account.retire(world.owner, gpa(1, 1), Some(100)).map_err(refused)?;
    println!("giving back by 100: {}", retirement(&answer));
    world.account.pass(99);
    println!("at 99: {}; events: {}", world.write(0x101)?, world.account.take_events().len());
    world.account.pass(101);
    let is_master = world.writer.function.is_master()?;
    let events = world.account.take_events();
    println!("at 101: {}; may start transactions: {is_master}", world.write(0x101)?);
    println!("the rest of it: {}", world.write(0x103)?);
    for event in events {
        match event {
            Event::Fenced(_, mappings) => println!("cut off, with so many mappings: {mappings}"),
            Event::Retired(_, memory) => println!("given back: {memory}"),
            other => println!("{other:?}"),
        }
    }
    println!("its owner reads {:#x}", world.owned.word(1)?);
    let refused = world.map(&[world.wish(4, 1, 0x200)]).remove(0);
    println!("mapping anew: {}", crate::told::code(refused));
    world.account.readmit(world.holder).map_err(failed)?;
    println!("readmitted, and may: {}", world.writer.function.is_master()?);
    println!("what it had: {}", world.write(0x101)?);
    world.map_one(world.wish(4, 1, 0x200))?;
    println!("mapped anew: {}", world.write(0x200)?);
    Ok(())
}

/// The switch by itself: with all mapped still.
fn switched_off() -> Result<(), String> {
    let mut copier = Copier::open()?;
    let owned = Owned::new(2)?;
    let container = copier.function.container();
    raw::map(container, bus(0x100, 2), &owned.memory, 0, Rights::READ_WRITE)
        .map_err(|errno| errno.to_string())?;
    let page = |number: u64| Iova::new((0x100 + number) * PAGE);
    owned.set(0, 7)?;
    copier.load(page(0))?;
    copier.function.off().map_err(failed)?;
    copier.store(page(1))?;
    println!("edu, switched off, wrote {}", owned.word(1)?);
    copier.function.on().map_err(failed)?;
    copier.store(page(1))?;
    println!("and on, {}", owned.word(1)?);
    raw::unmap_all(copier.function.container()).map(drop).map_err(|errno| errno.to_string())
}
