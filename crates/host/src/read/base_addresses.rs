//! Base address registers, as config space has them, as the kernel's `resource` has them and as
//! `lspci` prints them.

use std::num::NonZeroU64;

use ringfence_addr::Hpa;

use crate::bar::Bar;
use crate::fact::{Fact, Unknown};

use super::chain::unread;
use super::registers::Registers;

/// How many there are in an endpoint.
const COUNT: u8 = 6;

/// Those of an endpoint by its registers, which do not say how large they are.
pub(super) fn by_registers(registers: &mut dyn Registers) -> Fact<Vec<Bar>> {
    let mut words = [0; COUNT as usize];
    for (word, offset) in words.iter_mut().zip((0x10..).step_by(4)) {
        match registers.double_word(offset) {
            Ok(value) => *word = value,
            Err(gap) => return Fact::Unknown(unread(gap)),
        }
    }
    let mut bars = Vec::new();
    let mut indices = 0..COUNT;
    while let Some(index) = indices.next() {
        let low = words[usize::from(index)];
        // Bit 0 is set for ports; one that is not there is zero.
        if low == 0 || low & 1 != 0 {
            continue;
        }
        let wide = low & 6 == 4;
        let mut first = u64::from(low & !0xf);
        if wide && let Some(next) = indices.next() {
            first |= u64::from(words[usize::from(next)]) << 32;
        }
        bars.push(Bar {
            index,
            first: (first != 0).then(|| Hpa::new(first)),
            length: Fact::Unknown(Unknown::NotInSource),
            wide,
            prefetchable: low & 8 != 0,
        });
    }
    Fact::Known(bars)
}

/// Flags of `include/linux/ioport.h`.
const MEMORY: u64 = 0x200;
const PREFETCHABLE: u64 = 0x2000;
const WIDE: u64 = 0x10_0000;
const UNSET: u64 = 0x2000_0000;

/// Those in the kernel's `resource`: a line each of first address, last address and flags, of which
/// the first six are base address registers. `None` if a line makes no sense.
pub(super) fn by_resources(resources: &str) -> Option<Vec<Bar>> {
    let mut bars = Vec::new();
    for (index, line) in (0..COUNT).zip(resources.lines()) {
        let mut numbers =
            line.split(' ').map(|text| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok());
        let (first, last, flags) = (numbers.next()??, numbers.next()??, numbers.next()??);
        if flags & MEMORY == 0 {
            continue;
        }
        // What has no place has its size, from zero on.
        let length = last.checked_sub(first)?.checked_add(1)?;
        let placed = first != 0 && flags & UNSET == 0;
        bars.push(Bar {
            index,
            first: placed.then(|| Hpa::new(first)),
            length: Fact::Known(NonZeroU64::new(length)?),
            wide: flags & WIDE != 0,
            prefetchable: flags & PREFETCHABLE != 0,
        });
    }
    Some(bars)
}

/// What is kept of `resource`: the lines of base address registers, up to the last that is used.
pub(super) fn keep(resources: &str) -> String {
    let mut lines: Vec<_> = resources.lines().take(COUNT.into()).collect();
    let is_unused = |line: &&str| line.bytes().all(|byte| matches!(byte, b'0' | b'x' | b' '));
    while lines.pop_if(|line| is_unused(&&**line)).is_some() {}
    lines.join("\n")
}

/// One as `lspci` prints it: `Region 2: Memory at 90000000 (64-bit, prefetchable) [size=256M]`,
/// given from `Memory at` on.
pub(super) fn by_words(index: u8, words: &str) -> Option<Bar> {
    let (place, rest) = words.strip_prefix("Memory at ")?.split_once(" (")?;
    let (kind, rest) = rest.split_once(')')?;
    let first = u64::from_str_radix(place, 16).ok();
    let length = rest.split_once("[size=").and_then(|(_, size)| bytes(size.split_once(']')?.0));
    Some(Bar {
        index: Some(index).filter(|index| *index < COUNT)?,
        first: first.filter(|first| *first != 0).map(Hpa::new),
        length: length.map_or(Fact::Unknown(Unknown::NotInSource), Fact::Known),
        wide: kind.starts_with("64-bit"),
        prefetchable: kind.ends_with(", prefetchable"),
    })
}

/// `256M`.
fn bytes(size: &str) -> Option<NonZeroU64> {
    let (digits, shift) = match size.strip_suffix(['K', 'M', 'G', 'T']) {
        Some(digits) => (digits, 10 * (1 + "KMGT".find(size.get(digits.len()..)?)?)),
        None => (size, 0),
    };
    let number: u64 = digits.parse().ok()?;
    NonZeroU64::new(number.checked_mul(1 << shift)?)
}

#[cfg(test)]
mod tests;
