//! Writing and reading a disk at random until told to end, past every cache, and checking every
//! byte.
//!
//! A few threads each have a part of the disk, in slots of 1 MiB. A thread writes a slot with 4 KiB
//! to 1 MiB that follow from a seed, or reads one back that it wrote and compares. How long each
//! request took is noted: what a guest notices of a backend that died is a pause.
//!
//! Each line on standard input begins a round; the line `end` ends all. Whoever types them kills a
//! backend in each round, so a round's slowest request is the pause that death cost.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

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

/// What all threads share.
struct Exercise {
    file: File,
    /// The slowest request of the round so far, in microseconds.
    slowest: AtomicU64,
    is_over: AtomicBool,
}

pub(crate) fn run(device: &str) -> Result<(), String> {
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
    let exercise = Exercise { file, slowest: AtomicU64::new(0), is_over: AtomicBool::new(false) };
    let mut pauses = Vec::new();
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let exercise = &exercise;
                scope.spawn(move || exercise.run(thread * slots, slots, thread as u64 + 1))
            })
            .collect();
        pauses = exercise.rounds();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let is_whole = outcomes.len() == THREADS;
    let errors: u64 = outcomes.iter().map(|outcome| outcome.errors).sum();
    let wrong: u64 = outcomes.iter().map(|outcome| outcome.wrong).sum();
    let micros: Vec<u64> = outcomes.into_iter().flat_map(|outcome| outcome.micros).collect();
    println!("@@ requests={}", micros.len());
    println!("@@ errors={errors}");
    println!("@@ wrong={wrong}");
    println!("@@ rounds={}", pauses.len());
    show("micros", micros);
    show("pause", pauses);
    match is_whole && errors + wrong == 0 {
        true => Ok(()),
        false => Err("the disk failed, or gave back what it was not given".to_owned()),
    }
}

/// How `values` are distributed, as records.
fn show(name: &str, mut values: Vec<u64>) {
    values.sort_unstable();
    // The smallest value that so many are at or below.
    let share = |per_mille: usize| {
        let rank = (values.len() * per_mille).div_ceil(1000);
        values.get(rank.saturating_sub(1)).unwrap_or(&0)
    };
    println!("@@ {name}-50={}", share(500));
    println!("@@ {name}-99={}", share(990));
    println!("@@ {name}-999={}", share(999));
    println!("@@ {name}-most={}", values.last().unwrap_or(&0));
}

impl Exercise {
    /// Until told to end, or there is nobody left to tell: the slowest request of each round.
    fn rounds(&self) -> Vec<u64> {
        let mut pauses = Vec::new();
        let mut has_begun = false;
        for line in std::io::stdin().lock().lines() {
            let slowest = self.slowest.swap(0, Ordering::Relaxed);
            if has_begun {
                pauses.push(slowest);
            }
            has_begun = true;
            if !line.is_ok_and(|line| line.trim() != "end") {
                break;
            }
        }
        self.is_over.store(true, Ordering::Relaxed);
        pauses
    }

    fn run(&self, first: usize, slots: usize, seed: u64) -> Outcome {
        let mut outcome = Outcome::default();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Per slot: what was written last, and how much.
        let mut written: Vec<Option<(u64, usize)>> = (0..slots).map(|_| None).collect();
        let mut room = vec![0; SLOT + BLOCK];
        let aligned = room.as_ptr().align_offset(BLOCK);
        let room = &mut room[aligned..aligned + SLOT];
        while !self.is_over.load(Ordering::Relaxed) {
            let slot = below(&mut random, slots);
            let offset = ((first + slot) * SLOT) as u64;
            let begun;
            let result = match written[slot] {
                Some((seed, length)) if below(&mut random, 2) == 0 => {
                    let buffer = &mut room[..length];
                    buffer.fill(0);
                    begun = Instant::now();
                    let result = self.file.read_exact_at(buffer, offset);
                    outcome.micros.push(self.took(begun));
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
                    let result = self.file.write_all_at(buffer, offset);
                    outcome.micros.push(self.took(begun));
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

    fn took(&self, begun: Instant) -> u64 {
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.slowest.fetch_max(micros, Ordering::Relaxed);
        micros
    }
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
