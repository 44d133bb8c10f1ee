//! A device that copies memory into a buffer of its own and back: QEMU's `edu` (`docs/specs/edu.rst`).

use std::thread::sleep;
use std::time::Duration;

use ringfence_addr::Iova;
use ringfence_device::Access;
use ringfence_refusal::Fault;

use crate::opened::Function;
use crate::told::faulted;

/// Where it is in the lab's host.
const ADDRESS: &str = "0000:00:03.0";

/// Where in its own addresses the buffer is, and its registers.
const BUFFER: u64 = 0x4_0000;
const SOURCE: u64 = 0x80;
const TARGET: u64 = 0x88;
const COUNT: u64 = 0x90;
const COMMAND: u64 = 0x98;
const START: u32 = 1;
const TO_MEMORY: u32 = 2;
/// It takes 100 ms; a busy machine longer.
const LOOKS: u32 = 600;

pub(crate) struct Copier {
    pub(crate) function: Function,
}

impl Copier {
    pub(crate) fn open() -> Result<Self, String> {
        Ok(Self { function: Function::open(ADDRESS)? })
    }

    /// Copies a word into its buffer.
    pub(crate) fn load(&self, from: Iova) -> Result<(), String> {
        self.carry(from.get(), BUFFER, START)
    }

    /// Copies the word out of it.
    pub(crate) fn store(&self, to: Iova) -> Result<(), String> {
        self.carry(BUFFER, to.get(), START | TO_MEMORY)
    }

    fn carry(&self, from: u64, to: u64, command: u32) -> Result<(), String> {
        let mut opened = self.function.opened();
        let mut begin = || -> Result<(), Fault> {
            opened.write(0, SOURCE, &from.to_le_bytes())?;
            opened.write(0, TARGET, &to.to_le_bytes())?;
            opened.write(0, COUNT, &4_u64.to_le_bytes())?;
            opened.write(0, COMMAND, &command.to_le_bytes())
        };
        begin().map_err(|fault| faulted(&fault))?;
        for _ in 0..LOOKS {
            let mut bytes = [0; 4];
            opened.read(0, COMMAND, &mut bytes).map_err(|fault| faulted(&fault))?;
            if u32::from_le_bytes(bytes) & START == 0 {
                return Ok(());
            }
            sleep(Duration::from_millis(50));
        }
        Err("the device does not end".to_owned())
    }
}
