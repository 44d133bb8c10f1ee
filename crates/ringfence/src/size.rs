//! Sizes as people write and read them: always with a unit, always in powers of 1024.

use std::fmt;

const UNITS: [(&str, u32); 5] = [("B", 0), ("K", 10), ("M", 20), ("G", 30), ("T", 40)];

/// A number of bytes that prints with the largest unit it reaches: `16 MiB`, `1.5 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        let (unit, shift) =
            UNITS.into_iter().rev().find(|&(_, shift)| bytes >> shift != 0).unwrap_or(UNITS[0]);
        if shift == 0 {
            return write!(formatter, "{bytes} B");
        }
        let whole = bytes >> shift;
        // Tenths, rounded down: nothing is ever shown larger than it is.
        let rest = u128::from(bytes) & ((1 << shift) - 1);
        match (rest * 10) >> shift {
            0 => write!(formatter, "{whole} {unit}iB"),
            tenths => write!(formatter, "{whole}.{tenths} {unit}iB"),
        }
    }
}

/// Reads `512M`, `64 MiB`, `1g`. The error is a sentence's end: "... has no unit: write ...".
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    let Ok(number) = number.parse::<u64>() else {
        return Err(format!("`{text}` is not a size: write a whole number and a unit, as in 512M"));
    };
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit: write {number}M for MiB, {number}G for GiB"));
    }
    let upper = unit.to_ascii_uppercase();
    let letter = upper.strip_suffix("IB").unwrap_or(&upper);
    let Some((_, shift)) = UNITS.into_iter().find(|&(name, _)| name == letter && upper != "BIB")
    else {
        return Err(match letter.strip_suffix('B') {
            Some(short) if UNITS.iter().any(|&(name, _)| name == short) => format!(
                "`{text}` could mean 1000 or 1024: write {number}{short} or {number} {short}iB, which is 1024"
            ),
            _ => format!(
                "`{unit}` is not a unit of size: write K, M, G or T (or KiB, MiB, GiB, TiB)"
            ),
        });
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("`{text}` is more than any machine can have"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        for (text, bytes) in [
            ("512M", 512 << 20),
            ("64 MiB", 64 << 20),
            (" 1g ", 1 << 30),
            ("4096B", 4096),
            ("2KiB", 2048),
            ("0M", 0),
            ("3T", 3 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_says_what_would_be() {
        for (text, reason) in [
            ("512", "`512` has no unit: write 512M for MiB, 512G for GiB"),
            ("", "`` is not a size: write a whole number and a unit, as in 512M"),
            ("-1M", "`-1M` is not a size: write a whole number and a unit, as in 512M"),
            ("16MB", "`16MB` could mean 1000 or 1024: write 16M or 16 MiB, which is 1024"),
            ("1.5G", "`.5G` is not a unit of size: write K, M, G or T (or KiB, MiB, GiB, TiB)"),
            ("99999999T", "`99999999T` is more than any machine can have"),
            ("1BiB", "`BiB` is not a unit of size: write K, M, G or T (or KiB, MiB, GiB, TiB)"),
        ] {
            assert_eq!(parse(text), Err(reason.to_owned()), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_the_largest_unit_they_reach() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (512 << 20, "512 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
