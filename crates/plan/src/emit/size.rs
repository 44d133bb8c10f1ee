//! Sizes as consumers read them.

/// In the largest unit that divides it: `4G`, `2088960K`. Below a KiB, in bytes.
pub(super) fn size(bytes: u64) -> String {
    for (shift, unit) in [(30, "G"), (20, "M"), (10, "K")] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn the_largest_unit_that_divides() {
        for (bytes, text) in
            [(4 << 30, "4G"), (0x7b80_0000, "1976M"), (0x1_1000, "68K"), (17, "17"), (0, "0")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
