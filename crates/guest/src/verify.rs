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

const THREADS: usize = 4;
const SLOT: usize = 1 << 20;
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
    let bytes = usize::try_from(bytes).map_err(|error| format!("{device}: {error}"))?;
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
                    move || exercise(file, thread * slots, slots, thread as u64 + 1, end)
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
    match outcomes.len() == THREADS && sum(|outcome| outcome.errors + outcome.wrong) == 0 {
        true => Ok(()),
        false => Err("the disk failed, or gave back what it was not given".to_owned()),
    }
}

fn exercise(file: &File, first: usize, slots: usize, seed: u64, end: Instant) -> Outcome {
    let mut outcome = Outcome::default();
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // Per slot: what was written last, and how much.
    let mut written: Vec<Option<(u64, usize)>> = (0..slots).map(|_| None).collect();
    let mut room = vec![0; SLOT + BLOCK];
    let aligned = room.as_ptr().align_offset(BLOCK);
    let room = &mut room[aligned..aligned + SLOT];
    while Instant::now() < end {
        let slot = below(&mut random, slots);
        let offset = ((first + slot) * SLOT) as u64;
        let begun;
        let result = match written[slot] {
            Some((seed, length)) if below(&mut random, 2) == 0 => {
                let buffer = &mut room[..length];
                buffer.fill(0);
                begun = Instant::now();
                let result = file.read_exact_at(buffer, offset);
                outcome.micros.push(micros_since(begun));
                if result.is_ok() && !is_content(buffer, seed) {
                    outcome.wrong += 1;
                }
                result
            }
            _ => {
                let blocks = 1 + below(&mut random, SLOT / BLOCK);
                let seed = next(&mut random);
                let buffer = &mut room[..blocks * BLOCK];
                fill(buffer, seed);
                begun = Instant::now();
                let result = file.write_all_at(buffer, offset);
                outcome.micros.push(micros_since(begun));
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

fn micros_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A number below `limit`.
fn below(state: &mut u64, limit: usize) -> usize {
    usize::try_from(next(state) % limit as u64).unwrap_or(0)
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
