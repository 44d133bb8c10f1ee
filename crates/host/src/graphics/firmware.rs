//! The top of the device's memory that firmware keeps for processors inside the device (WOPCM).

use std::fmt;

use ringfence_addr::{Address as _, Hpa, Span};

use super::{Platform, whole_megabytes};

/// How `STOLEN_RESERVED` is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirmwareCode {
    /// Bit 0 on; base in bits 31:20, size in bits 5:4.
    Six,
    /// Bit 0 on; base in bits 31:18, size in bit 5.
    Seven,
    /// Bit 0 on; the topmost MiB.
    TopMegabyte,
    /// Bit 0 on; base in bits 31:20, size in bits 8:7.
    Eight,
    /// Bit 0 on; base in bits 31:20, from there to the top.
    ToTheTop,
    /// 64 bits: base in bits 63:20, size in bits 8:7.
    Wide,
    /// Size in bits 8:7, ends at the top.
    BelowTheTop,
}

/// What makes no sense about `STOLEN_RESERVED`; Linux then uses none of the device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddFirmware {
    /// It is not inside the device's memory.
    Outside {
        /// Where it is said to be.
        area: Span<Hpa>,
        /// Where the device's memory is.
        data: Span<Hpa>,
    },
    /// It has a size and no address, or runs past the last address.
    Nowhere {
        /// The register.
        register: u64,
    },
}

impl Platform {
    /// What firmware keeps of `data`, the device's memory, by the register at [`super::FIRMWARE`] in
    /// BAR 0; `None` if it keeps nothing.
    ///
    /// # Errors
    ///
    /// The area is not inside of `data`.
    pub fn firmware_area(
        &self,
        register: u64,
        data: Span<Hpa>,
    ) -> Result<Option<Span<Hpa>>, OddFirmware> {
        let has_switch = !matches!(self.firmware, FirmwareCode::Wide | FirmwareCode::BelowTheTop);
        if has_switch && register & 1 == 0 {
            return Ok(None);
        }
        let base = match self.firmware {
            FirmwareCode::Seven => register & 0xfffc_0000,
            FirmwareCode::Wide => register & !0xf_ffff,
            _ => register & 0xfff0_0000,
        };
        let length: u64 = match self.firmware {
            FirmwareCode::Six => (1 << 20) >> (register >> 4 & 3),
            FirmwareCode::Seven => (1 << 20) >> (2 * (register >> 5 & 1)),
            FirmwareCode::TopMegabyte => 1 << 20,
            FirmwareCode::ToTheTop if base == 0 => return Ok(None),
            FirmwareCode::ToTheTop => {
                let to_the_top = data.last().get().checked_sub(base).map(|it| it + 1);
                to_the_top.ok_or(OddFirmware::Nowhere { register })?
            }
            _ => (1 << 20) << (register >> 7 & 3),
        };
        let area = match self.firmware {
            FirmwareCode::TopMegabyte | FirmwareCode::BelowTheTop => {
                data.last().checked_sub(length - 1).and_then(|first| Span::new(first, data.last()))
            }
            _ if base == 0 => None,
            _ => Span::from_parts(Hpa::new(base), length),
        };
        match area {
            None => Err(OddFirmware::Nowhere { register }),
            Some(area) if data.encloses(&area) => Ok(Some(area)),
            Some(area) => Err(OddFirmware::Outside { area, data }),
        }
    }
}

/// The same area by PAVPC in config space ([`super::BRIDGE_PROTECTED`], or its mirror): only where it
/// is on and ends with `data`, as WOPCM does; otherwise BAR 0 alone says.
pub fn protected_area(register: u32, data: Span<Hpa>) -> Option<Span<Hpa>> {
    let length = (1 << 20) << (register >> 7 & 3);
    let area = Span::from_parts(whole_megabytes(register)?, length)?;
    let is_top = area.last() == data.last() && data.encloses(&area);
    (register & 1 != 0 && is_top).then_some(area)
}

impl fmt::Display for OddFirmware {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside { area, data } => {
                write!(formatter, "what firmware keeps, {area}, is outside of {data}")
            }
            Self::Nowhere { register } => {
                write!(formatter, "STOLEN_RESERVED {register:#x} names no place")
            }
        }
    }
}
