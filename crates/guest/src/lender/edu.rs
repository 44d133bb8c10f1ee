//! QEMU's `edu` (`docs/specs/edu.rst`), driven through a mapping of the BAR that was lent.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

use super::client::Client;

/// Where its registers and its buffer of 4 KiB are.
const IDENTITY: usize = 0;
const INVERTER: usize = 4;
const RAISE: usize = 0x60;
const ACKNOWLEDGE: usize = 0x64;
const FROM: usize = 0x80;
const TO: usize = 0x88;
const COUNT: usize = 0x90;
const COMMAND: usize = 0x98;
const BUFFER: u64 = 0x4_0000;

/// What is copied at once.
const BYTES: usize = 64;

/// How long it may take: a tenth of a second, in a machine that is not hurried.
const PATIENCE: Duration = Duration::from_secs(20);

/// Command register: memory, and memory and requests of its own.
const ANSWERS: [u8; 2] = [2, 0];
const MASTER: [u8; 2] = [6, 0];

/// The function, and the memory of the guest that it is to reach.
pub(crate) struct Edu {
    bar: MmapRegion,
    pub(crate) memory: File,
}

impl Edu {
    /// Maps BAR 0 as a VMM does, and turns on that the function answers.
    pub(crate) fn new(client: &mut Client, memory: File) -> Result<Self, String> {
        let region = client.region(0)?;
        let file = region.descriptor.ok_or("BAR 0 is not lent")?;
        if region.parts != [(0, region.size)] {
            return Err(format!("{:x?} of BAR 0 can be mapped", region.parts));
        }
        let size = usize::try_from(region.size).map_err(|error| error.to_string())?;
        let (read_write, shared) = (1 | 2, 1);
        let offset = FileOffset::new(file.into(), region.file_offset);
        let bar = MmapRegion::build(Some(offset), size, read_write, shared);
        client.set_config(4, &ANSWERS)?;
        Ok(Self { bar: bar.map_err(|error| format!("cannot map BAR 0: {error}"))?, memory })
    }

    /// Turns its own requests on, as a guest does.
    pub(crate) fn be_master(&self, client: &mut Client) -> Result<(), String> {
        client.set_config(4, &MASTER)
    }

    /// Its identity, and whether it inverts what it is given.
    pub(crate) fn answers(&self) -> Result<(u32, bool), String> {
        self.set(INVERTER, 0x1234_5678)?;
        Ok((self.get(IDENTITY)?, self.get(INVERTER)? == !0x1234_5678))
    }

    pub(crate) fn raise(&self) -> Result<(), String> {
        self.set(RAISE, 1)
    }

    pub(crate) fn acknowledge(&self) -> Result<(), String> {
        self.set(ACKNOWLEDGE, 1)
    }

    /// Has it read memory at one bus address and write it at another; whether it arrived.
    pub(crate) fn copies(&self, from: u64, to: u64, mark: u8) -> Result<bool, String> {
        self.fill(from, mark)?;
        self.fill(to, 0)?;
        self.transfer(from, BUFFER, 1)?;
        self.transfer(BUFFER, to, 3)?;
        self.holds(to, mark)
    }

    /// Has it write what it read last; whether that arrived.
    pub(crate) fn writes(&self, to: u64, mark: u8) -> Result<bool, String> {
        self.fill(to, 0)?;
        self.transfer(BUFFER, to, 3)?;
        self.holds(to, mark)
    }

    pub(crate) fn transfer(&self, from: u64, to: u64, command: u32) -> Result<(), String> {
        for (register, value) in [(FROM, from), (TO, to), (COUNT, BYTES as u64)] {
            self.bar
                .as_volatile_slice()
                .store(value, register, Ordering::SeqCst)
                .map_err(|error| error.to_string())?;
        }
        self.set(COMMAND, command)?;
        let end = Instant::now() + PATIENCE;
        while self.get(COMMAND)? & 1 != 0 {
            if Instant::now() > end {
                return Err("its transfer does not end".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The guest's memory is the file from its beginning on.
    pub(crate) fn fill(&self, at: u64, mark: u8) -> Result<(), String> {
        self.memory.write_all_at(&[mark; BYTES], at).map_err(|error| error.to_string())
    }

    pub(crate) fn holds(&self, at: u64, mark: u8) -> Result<bool, String> {
        let mut bytes = [!mark; BYTES];
        self.memory.read_exact_at(&mut bytes, at).map_err(|error| error.to_string())?;
        Ok(bytes == [mark; BYTES])
    }

    fn get(&self, register: usize) -> Result<u32, String> {
        let slice = self.bar.as_volatile_slice();
        slice.load(register, Ordering::SeqCst).map_err(|error| error.to_string())
    }

    fn set(&self, register: usize, value: u32) -> Result<(), String> {
        let slice = self.bar.as_volatile_slice();
        slice.store(value, register, Ordering::SeqCst).map_err(|error| error.to_string())
    }
}
