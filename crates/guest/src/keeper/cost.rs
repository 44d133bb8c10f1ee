//! What it costs to take mappings out and have the IOMMU forget them, beside a write of a register.
//!
//! Each line is a name and nanoseconds for one, the median of several rounds.

use std::time::Instant;

use ringfence_addr::Rights;
use ringfence_iommu::raw;
use ringfence_ledger::{Which, Wish};

use crate::told::{bus, failed};
use crate::world::World;

const ROUNDS: usize = 15;

pub(crate) fn run() -> Result<(), String> {
    let mut world = World::new(512)?;
    let touched = rounds(256, || (0..256).try_for_each(|_| world.writer.touch()))?;
    println!("register {touched}");
    for count in [1, 32, 512] {
        let repeats = 512 / count;
        let by_kernel = kernel(&world, count, repeats)?;
        println!("kernel-map-{count} {}", by_kernel[0]);
        println!("kernel-unmap-{count} {}", by_kernel[1]);
        for (name, apart) in [("apart", 2), ("neighbours", 1)] {
            let by_account = account(&mut world, count, repeats, apart)?;
            println!("account-map-{name}-{count} {}", by_account[0]);
            println!("account-unmap-{name}-{count} {}", by_account[1]);
        }
    }
    Ok(())
}

/// The median of what a round takes, of one of its `each` parts.
fn rounds(each: u64, mut round: impl FnMut() -> Result<(), String>) -> Result<u64, String> {
    let mut taken = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        round()?;
        taken.push(nanoseconds(begin) / each);
    }
    Ok(median(taken))
}

fn median(mut taken: Vec<u64>) -> u64 {
    taken.sort_unstable();
    taken[taken.len() / 2]
}

fn nanoseconds(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Mapping and unmapping by the kernel's calls alone, a page each.
fn kernel(world: &World, count: u64, repeats: u64) -> Result<[u64; 2], String> {
    let container = world.writer.function.container();
    let (mut maps, mut unmaps) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut taken = [0; 2];
        for _ in 0..repeats {
            let begin = Instant::now();
            for page in 0..count {
                let offset = page * crate::told::PAGE;
                let memory = &world.owned.memory;
                raw::map(container, bus(0x1000 + 2 * page, 1), memory, offset, Rights::READ_WRITE)
                    .map_err(|errno| errno.to_string())?;
            }
            taken[0] += nanoseconds(begin);
            let begin = Instant::now();
            for page in 0..count {
                raw::unmap(container, bus(0x1000 + 2 * page, 1)).map_err(|e| e.to_string())?;
            }
            taken[1] += nanoseconds(begin);
        }
        maps.push(taken[0] / (repeats * count));
        unmaps.push(taken[1] / (repeats * count));
    }
    Ok([median(maps), median(unmaps)])
}

/// The same by an account, in batches of `count` pages that are so far apart.
fn account(world: &mut World, count: u64, repeats: u64, apart: u64) -> Result<[u64; 2], String> {
    let (mut maps, mut unmaps) = (Vec::new(), Vec::new());
    let places = || (0..count).map(|page| (page, 0x1000 + apart * page));
    let wishes: Vec<Wish> = places().map(|(page, at)| world.wish(page, 1, at)).collect();
    let which: Vec<Which> = places().map(|(_, at)| Which::At(bus(at, 1))).collect();
    for _ in 0..ROUNDS {
        let mut taken = [0; 2];
        for _ in 0..repeats {
            let begin = Instant::now();
            for answer in world.map(&wishes) {
                answer.map_err(failed)?;
            }
            taken[0] += nanoseconds(begin);
            let begin = Instant::now();
            for answer in world.account.unmap(world.holder, &which) {
                answer.map_err(failed)?;
            }
            taken[1] += nanoseconds(begin);
        }
        maps.push(taken[0] / (repeats * count));
        unmaps.push(taken[1] / (repeats * count));
    }
    Ok([median(maps), median(unmaps)])
}
