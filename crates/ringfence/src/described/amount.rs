//! Amounts of memory as QEMU, libvirt and Proxmox write them.

/// Units in bytes: QEMU's letters are powers of 1024 (`qemu_strtosz`), libvirt's too, but where a `B`
/// follows without an `i` powers of 1000 (`virScaleInteger`).
fn unit(text: &str) -> Option<u64> {
    let power = |letter: char| {
        (1..)
            .zip("KMGTPE".chars())
            .find_map(|(power, one)| (one == letter.to_ascii_uppercase()).then_some(power))
    };
    let mut letters = text.chars();
    match (letters.next()?, letters.as_str()) {
        ('b' | 'B', "" | "ytes") => Some(1),
        (letter, "" | "iB" | "ib") => 1024_u64.checked_pow(power(letter)?),
        (letter, "B" | "b") => 1000_u64.checked_pow(power(letter)?),
        _ => None,
    }
}

/// `4096`, `4G`, `1.5G`, `0x7b000000`; `bare` is how many bytes a number without a unit counts.
pub(super) fn amount(text: &str, bare: u64) -> Option<u64> {
    let text = text.trim();
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok()?.checked_mul(bare);
    }
    let end = text.find(|one: char| !one.is_ascii_digit() && one != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let factor = if rest.is_empty() { bare } else { unit(rest.trim_start())? };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    // More digits than these are less than a byte of any amount that is meant.
    let fraction = fraction.get(..fraction.len().min(15))?;
    let parts = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
    let part = parts / 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// An amount with its unit beside it, as an attribute.
pub(super) fn amount_in(text: &str, unit_text: Option<&str>) -> Option<u64> {
    let bytes = unit_text.map_or(Some(1024), unit)?;
    text.trim().parse::<u64>().ok()?.checked_mul(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_their_writers_mean_them() {
        for (text, bare, bytes) in [
            ("4096", 1 << 20, Some(4 << 30)),
            ("4G", 1 << 20, Some(4 << 30)),
            ("4g", 1, Some(4 << 30)),
            ("1.5G", 1, Some(3 << 29)),
            ("2016M", 1, Some(2016 << 20)),
            ("0x7b000000", 1, Some(0x7b00_0000)),
            ("", 1, None),
            ("G", 1, None),
            ("4Q", 1, None),
            ("1..5G", 1, None),
            ("99999999999999999999", 1, None),
            ("18446744073709551615G", 1, None),
        ] {
            assert_eq!(amount(text, bare), bytes, "{text}");
        }
        assert_eq!(amount_in("4", Some("GiB")), Some(4 << 30));
        assert_eq!(amount_in("4", Some("GB")), Some(4_000_000_000));
        assert_eq!(amount_in("4", Some("bytes")), Some(4));
        assert_eq!(amount_in("4", None), Some(4096));
        assert_eq!(amount_in("4", Some("parsec")), None);
    }
}
