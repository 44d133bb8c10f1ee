//! Neighbours that share one entry of the kernel's: a part that is to go waits for the rest.

use ringfence_ledger::Which;

use crate::told::{bus, gpa, reached, refused, retirement};
use crate::world::World;

pub(crate) fn run() -> Result<(), String> {
    let mut world = World::new(8)?;
    let wishes: Vec<_> = (0..4).map(|page| world.wish(page, 1, 0x100 + page)).collect();
    let done = world.map(&wishes).iter().filter(|answer| answer.is_ok()).count();
    println!("{done} mappings, {} entry of the kernel's", world.domain.type1().entries());
    for page in 0..3 {
        let answer = world.unmap_one(Which::At(bus(0x100 + page, 1)));
        println!("unmapping page {page}: {}; {}", reached(answer), world.write(0x100 + page)?);
    }
    let busy = world.account.retire(world.owner, gpa(0, 1), None).map_err(refused)?;
    println!("giving page 0 back: {}", retirement(&busy));
    println!("unmapping page 3: {}", reached(world.unmap_one(Which::At(bus(0x103, 1)))));
    for page in 0..4 {
        println!("page {page}: {}", world.write(0x100 + page)?);
    }
    let free = world.account.retire(world.owner, gpa(0, 4), None).map_err(refused)?;
    let left = world.account.ledger().entries().count();
    println!("giving all back: {}; {left} in the books", retirement(&free));
    Ok(())
}
