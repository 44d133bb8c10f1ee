//! Which PCI function.
//!
//! Linux gives domains above 16 bits to buses that have none of their own (VMD, Hyper-V), so a
//! domain is 32 bits here. The requester id is what the function puts on the bus.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::text::{excerpt, is_hexadecimal};

/// The address of a PCI function: `0000:01:00.0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

impl PciAddress {
    /// The highest device number of a bus.
    pub const LAST_DEVICE: u8 = 0x1f;
    /// The highest function number of a device.
    pub const LAST_FUNCTION: u8 = 7;

    /// The address of a function, or `None` if `device` or `function` is not one.
    pub const fn new(domain: u32, bus: u8, device: u8, function: u8) -> Option<Self> {
        if device > Self::LAST_DEVICE || function > Self::LAST_FUNCTION {
            return None;
        }
        Some(Self { domain, bus, device, function })
    }

    /// The function with this requester id in `domain`.
    pub const fn from_requester_id(domain: u32, requester_id: u16) -> Self {
        let [bus, device_function] = requester_id.to_be_bytes();
        Self { domain, bus, device: device_function >> 3, function: device_function & 7 }
    }

    /// The domain, which Linux also calls segment.
    pub const fn domain(self) -> u32 {
        self.domain
    }

    /// The bus in the domain.
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// The device on the bus, at most [`PciAddress::LAST_DEVICE`].
    pub const fn device(self) -> u8 {
        self.device
    }

    /// The function of the device, at most [`PciAddress::LAST_FUNCTION`].
    pub const fn function(self) -> u8 {
        self.function
    }

    /// Bus, device and function as the function puts them on the bus.
    pub const fn requester_id(self) -> u16 {
        u16::from_be_bytes([self.bus, self.device << 3 | self.function])
    }
}

/// Whole, as sysfs names it: `0000:01:00.0`.
impl fmt::Display for PciAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = *self;
        // Only domains that the kernel made up have more than four digits.
        if domain > 0xffff {
            write!(formatter, "{:x}", domain >> 16)?;
        }
        let [_, _, high, low] = domain.to_be_bytes();
        let [[d3, d2], [d1, d0], [b1, b0], [s1, s0], [_, f]] =
            [high, low, bus, device, function].map(digits);
        // At once, as a report of many functions is addresses for the most part.
        let text = [d3, d2, d1, d0, b':', b1, b0, b':', s1, s0, b'.', f];
        formatter.write_str(core::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// The two hexadecimal digits of a byte.
fn digits(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0xf].map(|half| if half < 10 { b'0' + half } else { b'a' + half - 10 })
}

impl fmt::Debug for PciAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PciAddress({self})")
    }
}

/// A text that is not the address of a PCI function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParsePciAddressError {
    text: String,
    problem: Problem,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Problem {
    Shape,
    Digits(&'static str),
    Above(&'static str, u32),
}

impl FromStr for PciAddress {
    type Err = ParsePciAddressError;

    /// Reads `0000:01:00.0`, and `01:00.0` as in domain 0.
    fn from_str(text: &str) -> Result<Self, ParsePciAddressError> {
        if let Some(address) = whole(text) {
            return Ok(address);
        }
        parse(text).map_err(|problem| ParsePciAddressError { text: excerpt(text), problem })
    }
}

/// Reads `0000:01:00.0` alone, which is the form that lists of thousands have.
fn whole(text: &str) -> Option<PciAddress> {
    let text: &[u8; 12] = text.as_bytes().try_into().ok()?;
    let [d3, d2, d1, d0, b':', b1, b0, b':', s1, s0, b'.', f] = *text else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let pair = |high, low| u8::try_from(digit(high)? << 4 | digit(low)?).ok();
    let domain = u16::from_be_bytes([pair(d3, d2)?, pair(d1, d0)?]);
    PciAddress::new(domain.into(), pair(b1, b0)?, pair(s1, s0)?, pair(b'0', f)?)
}

fn parse(text: &str) -> Result<PciAddress, Problem> {
    let (numbers, function) = text.rsplit_once('.').ok_or(Problem::Shape)?;
    let (numbers, device) = numbers.rsplit_once(':').ok_or(Problem::Shape)?;
    let (domain, bus) = numbers.rsplit_once(':').unwrap_or(("0", numbers));
    if domain.contains(':') {
        return Err(Problem::Shape);
    }
    Ok(PciAddress {
        domain: number("domain", domain, u32::MAX)?,
        bus: byte("bus", bus, u8::MAX)?,
        device: byte("device", device, PciAddress::LAST_DEVICE)?,
        function: byte("function", function, PciAddress::LAST_FUNCTION)?,
    })
}

/// Reads a hexadecimal number of at most `last`.
fn number(name: &'static str, digits: &str, last: u32) -> Result<u32, Problem> {
    if !is_hexadecimal(digits) {
        return Err(Problem::Digits(name));
    }
    let number = u32::from_str_radix(digits, 16).ok().filter(|number| *number <= last);
    number.ok_or(Problem::Above(name, last))
}

/// Reads a hexadecimal number of at most `last`, which fits a byte.
fn byte(name: &'static str, digits: &str, last: u8) -> Result<u8, Problem> {
    let number = number(name, digits, last.into())?;
    Ok(u8::try_from(number).expect("not above a byte"))
}

impl fmt::Display for ParsePciAddressError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, problem } = self;
        write!(formatter, "{text:?} is not a PCI address: ")?;
        match problem {
            Problem::Shape => {
                write!(formatter, "write domain:bus:device.function, such as 0000:01:00.0")
            }
            Problem::Digits(name) => write!(formatter, "its {name} is not a hexadecimal number"),
            Problem::Above(name, last) => write!(formatter, "its {name} is above {last:#x}"),
        }
    }
}

impl core::error::Error for ParsePciAddressError {}

#[cfg(test)]
mod tests;
