//! What tests run inside a guest that busybox cannot do. As few dependencies as can be, so that it
//! builds in seconds.
//!
//! `guest write-zeroes DEVICE OFFSET LENGTH` has the disk itself write zeroes over a range: Linux
//! turns a hole punched into a block device into write-zeroes requests, and fails where the device
//! has none rather than write zeroes itself (`block/fops.c`, `blkdev_fallocate`).
//!
//! `guest verify DEVICE` writes and reads a disk at random and checks every byte ([`verify`]).
//!
//! `guest memory-map PLAN` holds its memory against a plan ([`memory_map`]).

mod memory_map;
mod verify;

use std::process::ExitCode;

use rustix::fs::{FallocateFlags, Mode, OFlags};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["write-zeroes", device, offset, length] => write_zeroes(device, offset, length),
        ["verify", device] => verify::run(device),
        ["memory-map", plan] => memory_map::run(plan),
        _ => {
            Err("usage: guest write-zeroes DEVICE OFFSET LENGTH | verify DEVICE | memory-map PLAN"
                .to_owned())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("guest: {message}");
            ExitCode::FAILURE
        }
    }
}

fn write_zeroes(device: &str, offset: &str, length: &str) -> Result<(), String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let (offset, length) = (number(offset)?, number(length)?);
    let file = rustix::fs::open(device, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| format!("cannot open {device}: {errno}"))?;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(file, flags, offset, length)
        .map_err(|errno| format!("{device} does not write zeroes: {errno}"))
}
