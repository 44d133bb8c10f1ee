//! How a function that somebody holds is read and written: config space and BARs.
//!
//! Offsets count from the start of a BAR; which address space that is in, the BAR decides.

use ringfence_addr::PciAddress;
use ringfence_refusal::Fault;

/// The command register and its bit for memory: without it the function answers at no BAR (PCI
/// Local Bus 3.0, section 6.2.2).
const COMMAND: u16 = 0x04;
const COMMAND_MEMORY: u16 = 1 << 1;

/// A function's registers and memory.
pub trait Access {
    /// Which function it is.
    fn function(&self) -> PciAddress;

    /// How many bytes BAR `bar` has; none if it is not there.
    fn bar_length(&mut self, bar: u8) -> Result<u64, Fault>;

    /// Reads config space.
    fn read_config(&mut self, offset: u16, bytes: &mut [u8]) -> Result<(), Fault>;

    /// Writes config space.
    fn write_config(&mut self, offset: u16, bytes: &[u8]) -> Result<(), Fault>;

    /// Reads a BAR. Four and eight bytes at a multiple of themselves are read at once.
    fn read(&mut self, bar: u8, offset: u64, bytes: &mut [u8]) -> Result<(), Fault>;

    /// Writes a BAR, in the same way.
    fn write(&mut self, bar: u8, offset: u64, bytes: &[u8]) -> Result<(), Fault>;
}

/// A word of config space.
pub(crate) fn config_u16(access: &mut dyn Access, offset: u16) -> Result<u16, Fault> {
    let mut bytes = [0; 2];
    access.read_config(offset, &mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}

/// A double word of config space.
pub(crate) fn config_u32(access: &mut dyn Access, offset: u16) -> Result<u32, Fault> {
    let mut bytes = [0; 4];
    access.read_config(offset, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// A register of 32 bits.
pub(crate) fn register_u32(access: &mut dyn Access, bar: u8, offset: u64) -> Result<u32, Fault> {
    let mut bytes = [0; 4];
    access.read(bar, offset, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// A register of 64 bits.
pub(crate) fn register_u64(access: &mut dyn Access, bar: u8, offset: u64) -> Result<u64, Fault> {
    let mut bytes = [0; 8];
    access.read(bar, offset, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Does `work` while the function answers at its BARs, and leaves its command register as it was.
pub(crate) fn answering<T, E: From<Fault>>(
    access: &mut dyn Access,
    work: impl FnOnce(&mut dyn Access) -> Result<T, E>,
) -> Result<T, E> {
    let command = config_u16(access, COMMAND)?;
    let answers = command & COMMAND_MEMORY != 0;
    if !answers {
        access.write_config(COMMAND, &(command | COMMAND_MEMORY).to_le_bytes())?;
    }
    let outcome = work(access);
    if !answers {
        let restored = access.write_config(COMMAND, &command.to_le_bytes());
        // What went wrong first is what to tell.
        if outcome.is_ok() {
            restored?;
        }
    }
    outcome
}
