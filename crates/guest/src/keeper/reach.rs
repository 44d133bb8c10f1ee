//! What is mapped is reached, with its rights, and nothing else; what was unmapped is forgotten.

use ringfence_addr::Rights;
use ringfence_ledger::{Place, Which, Wish};

use crate::told::{PAGE, bus, reached};
use crate::world::World;

pub(crate) fn run() -> Result<(), String> {
    let mut world = World::new(32)?;
    println!("nothing mapped: {}", world.write(0x100)?);
    world.map_one(world.wish(4, 8, 0x100))?;
    println!("first page of a grant: {}", world.write(0x100)?);
    println!("last page: {}", world.write(0x107)?);
    println!("the page before: {}", world.write(0xff)?);
    println!("the page behind: {}", world.write(0x108)?);
    let reads = Wish { rights: Rights::READ, ..world.wish(4, 1, 0x200) };
    world.map_one(reads)?;
    println!("the same memory to be read: {}", world.write(0x200)?);
    let chosen = world.map_one(Wish { place: Place::Chosen, ..world.wish(20, 1, 0) })?;
    let at = chosen.bus.ok_or("no bus addresses")?.first().get() / PAGE;
    println!("where the ledger chose: {}", world.write(at)?);
    println!("unmapping: {}", reached(world.unmap_one(Which::At(bus(0x100, 8)))));
    println!("first page: {}", world.write(0x100)?);
    println!("last page: {}", world.write(0x107)?);
    world.map_one(world.wish(28, 1, 0x100))?;
    println!("other memory there: {}", world.write(0x100)?);
    // Each time it is asked, so that the device remembers what it must forget.
    let mut stale = 0;
    for round in 0..64 {
        world.map_one(world.wish(round % 16, 1, 0x300))?;
        let there = world.write(0x300)? == crate::writer::Went::To(vec![round % 16]);
        world.unmap_one(Which::At(bus(0x300, 1))).map_err(crate::told::failed)?;
        stale += u32::from(!there) + u32::from(world.reaches(0x300)?);
    }
    println!("64 times mapped, used, unmapped, tried: {stale} wrong");
    Ok(())
}
