//! Config space of a graphics function: what firmware wrote, what software may write, capabilities.

use super::defect::Defect;
use super::design::{DataRegister, Design, ResetBy};

/// A byte of config space that no silicon has: a test writes its own marks there, and the model keeps
/// what it was like at each.
pub const MARK: u64 = 0x4c;

const COMMAND: usize = 0x04;
const MEMORY_ENABLE: u16 = 2;
const POWER: usize = 0xd4;
const EXPRESS_CONTROL: usize = 0x78;
const EXPRESS_RESET: u16 = 1 << 15;
const FEATURES_CONTROL: usize = 0xa8;
const FEATURES_RESET: u8 = 1;

/// Config space.
#[derive(Clone, Debug)]
pub(super) struct Config {
    bytes: Vec<u8>,
    writable: Vec<u8>,
    reset_by: ResetBy,
}

/// What a write to config space asks for beside the registers that it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Reset,
    Mark(u8),
}

impl Config {
    pub(super) fn new(design: &Design, defect: Option<Defect>) -> Self {
        let length = match design.reset_by {
            ResetBy::AdvancedFeatures => 256,
            ResetBy::Express => 4096,
        };
        let mut this =
            Self { bytes: vec![0; length], writable: vec![0; length], reset_by: design.reset_by };
        this.header(design);
        this.capabilities();
        let told = defect == Some(Defect::Smaller);
        let control = design.control + if told { size_step(design) } else { 0 };
        let data = design.data.get();
        match design.data_register {
            DataRegister::Low => {
                this.set(0x50, &control.to_le_bytes());
                // Bit 0 locks.
                this.set(0x5c, &(data | 1).to_le_bytes()[..4]);
            }
            DataRegister::Wide => {
                this.set(0x50, &control.to_le_bytes());
                this.set(0xc0, &(data | 1).to_le_bytes());
            }
            DataRegister::Absent => {}
        }
        this
    }

    fn header(&mut self, design: &Design) {
        self.set(0x00, &0x8086_u16.to_le_bytes());
        self.set(0x02, &design.device.to_le_bytes());
        self.may_write(COMMAND, &[0x07, 0x04]);
        // It has capabilities.
        self.set(0x06, &[0x10, 0x00]);
        // Revision 6; a display controller that is compatible with VGA.
        self.set(0x08, &[0x06, 0x00, 0x00, 0x03]);
        // BAR 0 has 64 bits; BAR 2 has, and may be prefetched.
        self.set(0x10, &[0x04]);
        self.set(0x18, &[0x0c]);
        for (at, bytes) in [(0x10, design.bar0_bytes), (0x18, design.bar2_bytes)] {
            let free = !(u64::try_from(bytes).unwrap_or(u64::MAX) - 1);
            self.may_write(at, &free.to_le_bytes());
        }
        self.set(0x2c, &[0x86, 0x80, 0x12, 0x20]);
        let mark = usize::try_from(MARK).unwrap_or(0);
        self.may_write(mark, &[0xff]);
    }

    fn capabilities(&mut self) {
        let first = match self.reset_by {
            ResetBy::AdvancedFeatures => 0x90,
            ResetBy::Express => 0x70,
        };
        self.set(0x34, &[first]);
        // MSI, one vector; power management, which keeps what it has in D3.
        let (signalled, features) = match self.reset_by {
            ResetBy::AdvancedFeatures => (0x90, 0xa4),
            ResetBy::Express => (0xac, 0x00),
        };
        self.set(signalled, &[0x05, 0xd0, 0x00, 0x00]);
        self.may_write(signalled + 2, &[0x01]);
        self.may_write(signalled + 4, &[0xfc, 0xff, 0xff, 0xff, 0xff, 0xff]);
        self.set(0xd0, &[0x01, features, 0x22, 0x00, 0x08]);
        self.may_write(POWER, &[0x03]);
        match self.reset_by {
            // Function-level reset, and pending transactions to tell.
            ResetBy::AdvancedFeatures => self.set(0xa4, &[0x13, 0x00, 0x06, 0x03]),
            ResetBy::Express => {
                // Version 2, integrated into the root complex; function-level reset.
                self.set(0x70, &[0x10, 0xac, 0x92, 0x00, 0x00, 0x80, 0x00, 0x10]);
                self.may_write(EXPRESS_CONTROL, &[0xff, 0x7f]);
            }
        }
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn may_write(&mut self, at: usize, bits: &[u8]) {
        self.writable[at..at + bits.len()].copy_from_slice(bits);
    }

    pub(super) fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(offset..) {
            *byte =
                usize::try_from(at).ok().and_then(|at| self.bytes.get(at)).copied().unwrap_or(0xff);
        }
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Asked {
        let mut asked = Asked::Nothing;
        for (&byte, at) in data.iter().zip(offset..) {
            let Some(place) = usize::try_from(at).ok().filter(|at| *at < self.bytes.len()) else {
                continue;
            };
            let writable = self.writable[place];
            self.bytes[place] = self.bytes[place] & !writable | byte & writable;
            let [_, express_reset] = EXPRESS_RESET.to_le_bytes();
            let resets = match self.reset_by {
                ResetBy::AdvancedFeatures => {
                    place == FEATURES_CONTROL && byte & FEATURES_RESET != 0
                }
                ResetBy::Express => place == EXPRESS_CONTROL + 1 && byte & express_reset != 0,
            };
            if resets {
                asked = Asked::Reset;
            } else if at == MARK {
                asked = Asked::Mark(byte);
            }
        }
        asked
    }

    /// The command register.
    pub(super) fn command(&self) -> u16 {
        u16::from_le_bytes([self.bytes[COMMAND], self.bytes[COMMAND + 1]])
    }

    /// Whether BARs answer: memory is enabled, and the function is in D0.
    pub(super) fn is_decoding(&self) -> bool {
        self.command() & MEMORY_ENABLE != 0 && self.bytes[POWER] & 3 == 0
    }

    /// What software wrote is gone; what firmware wrote and locked is not.
    pub(super) fn reset(&mut self) {
        for (byte, writable) in self.bytes.iter_mut().zip(&self.writable) {
            *byte &= !writable;
        }
    }
}

/// One size more, in GGC.
fn size_step(design: &Design) -> u16 {
    if design.entry_bytes() == 4 { 1 << 3 } else { 1 << 8 }
}

/// BAR 0's mirrors of what config space says (GGC, BDSM, BGSM), and STOLEN_RESERVED: offsets and values.
pub(super) fn mirrors(design: &Design, defect: Option<Defect>) -> Vec<(usize, u32)> {
    let told = matches!(defect, Some(Defect::ControlDisagrees | Defect::Smaller));
    let control = u32::from(design.control + if told { size_step(design) } else { 0 });
    let mebibyte = 1 << 20;
    let data = design.data.get() + if defect == Some(Defect::DataDisagrees) { mebibyte } else { 0 };
    let page_table = design.data.get() - (design.bar0_bytes - design.page_table_at) as u64;
    let firmware = match defect {
        Some(Defect::FirmwareOutside) => design.firmware_register + 64 * mebibyte,
        _ => design.firmware_register,
    };
    let mut mirrors = vec![(0x10_8040, control)];
    for (at, value) in [(0x10_80c0, data | 1), (0x10_8100, page_table), (0x10_82c0, firmware)] {
        let [low, high] = [value & 0xffff_ffff, value >> 32];
        let half = |half: u64| u32::try_from(half).unwrap_or(u32::MAX);
        mirrors.extend([(at, half(low)), (at + 4, half(high))]);
    }
    mirrors
}
