//! What cannot be is refused, entry by entry, and nothing of it is reached.

use ringfence_addr::{Iova, Rights};
use ringfence_iommu::{Mode, raw};
use ringfence_ledger::{Place, Which, Wish};

use crate::told::{PAGE, bus, code, gpa, kernel, refused};
use crate::world::World;

/// The last page of bus addresses.
const LAST: u64 = u64::MAX / PAGE;
/// Interrupts are written there: no IOMMU translates it.
const WINDOW: u64 = 0xfee0_0000 / PAGE;

pub(crate) fn run() -> Result<(), String> {
    let mut world = World::new(32)?;
    let (owner, holder) = (world.owner, world.holder);
    world.account.allow(owner, holder, gpa(16, 16), Rights::READ, None).map_err(refused)?;
    let good = world.wish(0, 4, 0x100);
    world.map_one(good)?;
    let at = |number: u64| Wish { place: Place::At(Iova::new(number)), ..good };
    let tried = [
        ("overlapping", world.wish(8, 2, 0x103)),
        ("the last page there is", world.wish(0, 1, LAST)),
        ("around the end", world.wish(0, 2, LAST)),
        ("where interrupts are written", world.wish(0, 1, WINDOW)),
        ("half a page off", at(0x20_0800)),
        ("memory half a page off", Wish { memory: shifted(), ..world.wish(0, 1, 0x200) }),
        ("no memory", world.wish(31, 2, 0x200)),
        ("no right", Wish { rights: Rights::NONE, ..world.wish(0, 1, 0x200) }),
    ];
    for (name, wish) in tried {
        println!("{name}: {}", code(world.map(&[wish]).remove(0)));
    }
    for (name, span) in [("a part", bus(0x101, 1)), ("what is not", bus(0x400, 1))] {
        println!("unmapping {name}: {}", code(world.unmap_one(Which::At(span))));
    }
    let batch = [world.wish(8, 1, 0x500), world.wish(9, 1, 0x103), world.wish(10, 1, 0x502)];
    for mode in [Mode::AllOrNothing, Mode::BestEffort] {
        let answers = world.account.map(world.holder, &batch, mode);
        let codes: Vec<String> = answers.into_iter().map(code).collect();
        let (first, last) = (world.write(0x500)?, world.write(0x502)?);
        println!("{mode:?}: {}; then {first}, {last}", codes.join(", "));
    }
    println!("what was there: {}", world.write(0x103)?);
    // What the kernel says by itself.
    let container = world.writer.function.container();
    let again = raw::map(container, bus(0x103, 1), &world.owned.memory, 0, Rights::READ);
    let window = raw::map(container, bus(WINDOW, 1), &world.owned.memory, 0, Rights::READ);
    let part = raw::unmap(container, bus(0x101, 1));
    let said = [again.map(|()| 0), window.map(|()| 0), part].map(kernel);
    println!("the kernel of an overlap, the window, a part: {}", said.join(", "));
    Ok(())
}

fn shifted() -> ringfence_addr::Span<ringfence_addr::Gpa> {
    ringfence_addr::Span::from_parts(ringfence_addr::Gpa::new(0x800), PAGE).expect("low")
}
