//! Writing and reading a disk at random for a time, past every cache, and checking every byte.
//!
//! A few threads each have a part of the disk, in slots of 1 MiB. A thread writes a slot with 4 KiB
//! to 1 MiB that follow from a seed, or reads one back that it wrote and compares. How long each
//! request took is noted: what a guest notices of a backend that died is a pause.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

const THREADS: u64 = 4;
const SLOT: u64 = 1 << 20;
const BLOCK: usize = 4096;

/// What a thread came to.
#[derive(Default)]
struct Outcome {
    errors: u64,
    wrong: u64,
    micros: Vec<u64>,
}

pub(crate) fn run(device: &str, seconds: &str) -> Result<(), String> {
    let seconds: u64 = seconds.parse().map_err(|error| format!("{seconds}: {error}"))?;
    let flags = i32::try_from(OFlags::DIRECT.bits()).map_err(|error| error.to_string())?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(device)
        .map_err(|error| format!("cannot open {device}: {error}"))?;
    let bytes = file.seek(SeekFrom::End(0)).map_err(|error| format!("{device}: {error}"))?;
    let slots = bytes / SLOT / THREADS;
    if slots == 0 {
        return Err(format!("{device} is too small"));
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let file = &file;
                    move || exercise(file, thread * slots, slots, thread + 1, end)
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let mut micros: Vec<u64> = outcomes.iter().flat_map(|outcome| outcome.micros.clone()).collect();
    micros.sort_unstable();
    let share = |per_mille: usize| micros.get(micros.len() * per_mille / 1000).unwrap_or(&0);
    println!("@@ requests={}", micros.len());
    println!("@@ errors={}", sum(|outcome| outcome.errors));
    println!("@@ wrong={}", sum(|outcome| outcome.wrong));
    println!("@@ micros-50={}", share(500));
    println!("@@ micros-99={}", share(990));
    println!("@@ micros-999={}", share(999));
    println!("@@ micros-most={}", micros.last().unwrap_or(&0));
    match outcomes.len() == 4 && sum(|outcome| outcome.errors + outcome.wrong) == 0 {
        true => Ok(()),
        false => Err("the disk failed, or gave back what it was not given".to_owned()),
    }
}

fn exercise(file: &File, first: u64, slots: u64, seed: u64, end: Instant) -> Outcome {
    let mut outcome = Outcome::default();
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // Per slot: what was written last, and how much.
    let mut written: Vec<Option<(u64, usize)>> = (0..slots).map(|_| None).collect();
    let mut room = vec![0; SLOT as usize + BLOCK];
    let aligned = room.as_ptr().align_offset(BLOCK);
    let room = &mut room[aligned..aligned + SLOT as usize];
    while Instant::now() < end {
        let slot = (next(&mut random) % slots) as usize;
        let offset = (first + slot as u64) * SLOT;
        let begun;
        let result = match written[slot] {
            Some((seed, length)) if next(&mut random) % 2 == 0 => {
                let buffer = &mut room[..length];
                buffer.fill(0);
                begun = Instant::now();
                let result = file.read_exact_at(buffer, offset);
                outcome.micros.push(begun.elapsed().as_micros() as u64);
                if result.is_ok() && !is_content(buffer, seed) {
                    outcome.wrong += 1;
                }
                result
            }
            _ => {
                let blocks = 1 + next(&mut random) as usize % (SLOT as usize / BLOCK);
                let seed = next(&mut random);
                let buffer = &mut room[..blocks * BLOCK];
                fill(buffer, seed);
                begun = Instant::now();
                let result = file.write_all_at(buffer, offset);
                outcome.micros.push(begun.elapsed().as_micros() as u64);
                written[slot] = result.is_ok().then_some((seed, buffer.len()));
                result
            }
        };
        if let Err(error) = result {
            eprintln!("guest: at {offset}: {error}");
            outcome.errors += 1;
        }
    }
    outcome
}

/// xorshift64.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn fill(buffer: &mut [u8], mut seed: u64) {
    for word in buffer.chunks_exact_mut(8) {
        word.copy_from_slice(&next(&mut seed).to_le_bytes());
    }
}

fn is_content(buffer: &[u8], mut seed: u64) -> bool {
    buffer.chunks_exact(8).all(|word| word == next(&mut seed).to_le_bytes())
}
