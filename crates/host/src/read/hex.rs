//! Hexadecimal text.

/// The number `text` is, with or without `0x`.
pub(super) fn number(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

/// Appends the bytes that pairs of digits stand for; false, and nothing appended, if `digits` is
/// anything else.
pub(super) fn append(bytes: &mut Vec<u8>, digits: &str) -> bool {
    let before = bytes.len();
    let pairs = digits.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return false;
    }
    for pair in pairs {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            bytes.truncate(before);
            return false;
        };
        bytes.push(high << 4 | low);
    }
    true
}

/// The value of one digit.
pub(super) fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
