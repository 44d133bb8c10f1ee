//! An SSDT that reserves memory: motherboard resources, which a guest keeps away from.
//!
//! ACPI 6.5, sections 6.4.3 (resource descriptors) and 20.2 (AML). Only what such a table needs is
//! written and read: scopes, devices, and names of numbers, texts and buffers. (The AML writer among
//! the published crates states memory as produced for others rather than consumed, and reads nothing.)

use ringfence_addr::{Address, Gpa, Span};
use ringfence_refusal::Refusal;

use crate::header::Header;
use crate::refusals::NOT_A_RESERVATION;
use crate::table::{Content, Table};
use crate::wire::{Wire, split};

/// `PNP0C02`, compressed as EISA ids are.
const MOTHERBOARD: u32 = u32::from_le_bytes([0x41, 0xd0, 0x0c, 0x02]);

const NAME: u8 = 0x08;
const BYTE: u8 = 0x0a;
const WORD: u8 = 0x0b;
const DOUBLE: u8 = 0x0c;
const TEXT: u8 = 0x0d;
const QUAD: u8 = 0x0e;
const SCOPE: u8 = 0x10;
const BUFFER: u8 = 0x11;
const EXTENDED: u8 = 0x5b;
const DEVICE: u8 = 0x82;

const MEMORY_32_FIXED: u8 = 0x86;
const QUAD_MEMORY: u8 = 0x8a;
const END_TAG: u8 = 0x79;
const LAST_32_BIT: u64 = 0xffff_ffff;
/// Scopes and devices inside each other, at most.
const DEPTH_MAX: usize = 16;

/// A device that does nothing but hold memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its name in `\_SB`.
    pub name: [u8; 4],
    /// Which of several.
    pub unique: u32,
    /// The memory.
    pub spans: Vec<Span<Gpa>>,
}

/// A table that reserves memory for each of the devices.
pub fn reserve(header: Header, reservations: &[Reservation]) -> Table {
    let mut scope = b"\\_SB_".to_vec();
    for reservation in reservations {
        let mut device = reservation.name.to_vec();
        name(&mut device, b"_HID", &number(MOTHERBOARD));
        name(&mut device, b"_UID", &number(reservation.unique));
        name(&mut device, b"_CRS", &buffer(&resources(&reservation.spans)));
        scope.extend([EXTENDED, DEVICE]);
        package(&mut scope, &device);
    }
    let mut body = vec![SCOPE];
    package(&mut body, &scope);
    Table::new(header, Content::Other(body))
}

/// The devices of such a table with the memory they hold, motherboard resources only.
///
/// # Errors
///
/// There is AML of another form in it.
pub fn read_reservations(table: &Table) -> Result<Vec<Reservation>, Refusal> {
    let Content::Other(body) = &table.content else {
        let detail = format!("the table is a {}", table.header.signature);
        return Err(Refusal::new(&NOT_A_RESERVATION, detail));
    };
    let mut reader = Reader { found: Vec::new() };
    reader.terms(body, None, 0).ok_or_else(|| {
        Refusal::new(&NOT_A_RESERVATION, "something else than devices and their names")
    })?;
    let held = reader.found.into_iter().filter(|device| device.hardware == Some(MOTHERBOARD));
    Ok(held.map(|device| device.reservation).collect())
}

/// Appends a package: its length, which counts itself, and its content.
fn package(bytes: &mut Vec<u8>, content: &[u8]) {
    let with = |own: usize| content.len() + own;
    let low = |length: usize| u8::try_from(length & 0xf).expect("four bits");
    let byte = |number: usize| u8::try_from(number & 0xff).expect("eight bits");
    match content.len() {
        0..0x3f => bytes.push(byte(with(1))),
        0x3f..0xffe => bytes.extend([1 << 6 | low(with(2)), byte(with(2) >> 4)]),
        _ => {
            assert!(with(4) < 1 << 28, "a package of AML is shorter than 256 MiB");
            let length = with(4);
            let rest = [byte(length >> 4), byte(length >> 12), byte(length >> 20)];
            bytes.push(3 << 6 | low(length));
            bytes.extend(rest);
        }
    }
    bytes.extend(content);
}

fn name(bytes: &mut Vec<u8>, segment: &[u8; 4], value: &[u8]) {
    bytes.push(NAME);
    bytes.extend(segment);
    bytes.extend(value);
}

fn number(value: u32) -> Vec<u8> {
    let mut bytes = vec![DOUBLE];
    value.put(&mut bytes);
    bytes
}

fn buffer(content: &[u8]) -> Vec<u8> {
    let mut inside = number(u32::try_from(content.len()).expect("a buffer is shorter than 4 GiB"));
    inside.extend(content);
    let mut bytes = vec![BUFFER];
    package(&mut bytes, &inside);
    bytes
}

/// Resource descriptors: 32 bits where the span has them, or else 64; read and write, not cached,
/// consumed, at exactly this address.
fn resources(spans: &[Span<Gpa>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for span in spans {
        let (first, last) = (span.first().get(), span.last().get());
        // All of the space has a length that no descriptor can state; one byte less than meant.
        let length = span.length_u64().map_or(u64::MAX, u64::from);
        match (u32::try_from(first), u32::try_from(length)) {
            (Ok(first), Ok(length)) if last <= LAST_32_BIT => {
                bytes.extend([MEMORY_32_FIXED, 9, 0, 1]);
                first.put(&mut bytes);
                length.put(&mut bytes);
            }
            _ => {
                bytes.extend([QUAD_MEMORY, 43, 0, 0, 0x0d, 1]);
                [0, first, last, 0, length].iter().for_each(|field| field.put(&mut bytes));
            }
        }
    }
    bytes.extend([END_TAG, 0]);
    bytes
}

struct Found {
    hardware: Option<u32>,
    reservation: Reservation,
}

struct Reader {
    found: Vec<Found>,
}

enum Value<'a> {
    Number(u64),
    Text,
    Bytes(&'a [u8]),
}

impl Reader {
    /// Reads terms, the names of which belong to the device at this place of the list.
    fn terms(&mut self, mut bytes: &[u8], device: Option<usize>, depth: usize) -> Option<()> {
        while let Some((operation, rest)) = bytes.split_first() {
            bytes = rest;
            match *operation {
                NAME => {
                    let name = <[u8; 4]>::take(&mut bytes)?;
                    let value = value(&mut bytes)?;
                    if let Some(device) = device {
                        self.take_name(device, name, value)?;
                    }
                }
                SCOPE if depth < DEPTH_MAX => {
                    let mut inside = inside(&mut bytes)?;
                    path(&mut inside)?;
                    self.terms(inside, None, depth + 1)?;
                }
                EXTENDED if depth < DEPTH_MAX && u8::take(&mut bytes)? == DEVICE => {
                    let mut inside = inside(&mut bytes)?;
                    let reservation =
                        Reservation { name: path(&mut inside)?, unique: 0, spans: Vec::new() };
                    self.found.push(Found { hardware: None, reservation });
                    self.terms(inside, Some(self.found.len() - 1), depth + 1)?;
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn take_name(&mut self, device: usize, name: [u8; 4], value: Value<'_>) -> Option<()> {
        let device = self.found.get_mut(device)?;
        match (&name, value) {
            (b"_HID", Value::Number(id)) => device.hardware = u32::try_from(id).ok(),
            (b"_UID", Value::Number(id)) => device.reservation.unique = u32::try_from(id).ok()?,
            (b"_CRS", Value::Bytes(bytes)) => device.reservation.spans = memory(bytes)?,
            _ => {}
        }
        Some(())
    }
}

/// What a package holds.
fn inside<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let lead = u8::take(bytes)?;
    let more = usize::from(lead >> 6);
    let mut length = usize::from(if more == 0 { lead } else { lead & 0xf });
    for index in 0..more {
        length |= usize::from(u8::take(bytes)?) << (4 + 8 * index);
    }
    split(bytes, length.checked_sub(1 + more)?)
}

/// The last segment of a path.
fn path(bytes: &mut &[u8]) -> Option<[u8; 4]> {
    while let Some((b'\\' | b'^', rest)) = bytes.split_first() {
        *bytes = rest;
    }
    let segments = match bytes.split_first()? {
        (0x2e, rest) => {
            *bytes = rest;
            2
        }
        (0x2f, rest) => {
            *bytes = rest;
            u8::take(bytes)?
        }
        _ => 1,
    };
    (0..segments).map(|_| <[u8; 4]>::take(bytes)).last().flatten()
}

fn value<'a>(bytes: &mut &'a [u8]) -> Option<Value<'a>> {
    Some(match u8::take(bytes)? {
        0 => Value::Number(0),
        1 => Value::Number(1),
        0xff => Value::Number(u64::MAX),
        BYTE => Value::Number(u8::take(bytes)?.into()),
        WORD => Value::Number(u16::take(bytes)?.into()),
        DOUBLE => Value::Number(u32::take(bytes)?.into()),
        QUAD => Value::Number(u64::take(bytes)?),
        TEXT => {
            let end = bytes.iter().position(|byte| *byte == 0)?;
            split(bytes, end + 1)?;
            Value::Text
        }
        BUFFER => {
            let mut inside = inside(bytes)?;
            let Value::Number(_) = value(&mut inside)? else { return None };
            Value::Bytes(inside)
        }
        _ => return None,
    })
}

/// The memory among resource descriptors; none if there is a descriptor of another kind.
fn memory(mut bytes: &[u8]) -> Option<Vec<Span<Gpa>>> {
    let mut spans = Vec::new();
    loop {
        let kind = u8::take(&mut bytes)?;
        if kind == END_TAG {
            return Some(spans);
        }
        let length = u16::take(&mut bytes)?;
        let mut body = split(&mut bytes, length.into())?;
        let fields = &mut body;
        spans.push(match kind {
            MEMORY_32_FIXED => {
                u8::take(fields)?;
                let (first, length) = (u32::take(fields)?, u32::take(fields)?);
                Span::from_parts(Gpa::new(first.into()), length.into())?
            }
            QUAD_MEMORY => {
                let _flags = <[u8; 3]>::take(fields)?;
                let _granularity = u64::take(fields)?;
                Span::new(Gpa::try_new(u64::take(fields)?)?, Gpa::try_new(u64::take(fields)?)?)?
            }
            _ => return None,
        });
    }
}

#[cfg(test)]
mod tests;
