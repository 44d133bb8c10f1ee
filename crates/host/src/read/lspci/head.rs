//! The line that begins a function, behind its address:
//! `PCI bridge [0604]: Intel Corporation … [8086:1901] (rev 07) (prog-if 00 [Normal decode])`.

use crate::fact::Fact;
use crate::function::{Class, Function};

use super::names::{Ids, Names, number, pair};

/// Sets what the line says of class, ids, revision and name.
pub(super) fn describe(function: &mut Function, line: &str, names: &Names) {
    let Some((class, mut rest)) = line.split_once(": ") else { return };
    let mut revision = 0;
    let mut interface = None;
    // Notes in parentheses end the line, and names may have parentheses, too.
    while let Some((before, note)) =
        rest.strip_suffix(')').and_then(|inner| inner.rsplit_once(" ("))
    {
        if let Some(digits) = note.strip_prefix("rev ") {
            revision = u8::from_str_radix(digits, 16).unwrap_or_default();
        } else if let Some(words) = note.strip_prefix("prog-if ") {
            interface = words.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        } else {
            break;
        }
        rest = before;
    }
    let (name, ids) = ids(rest, names);
    let identity = &mut function.identity;
    identity.vendor = ids.vendor.map_or_else(Fact::default, Fact::Known);
    identity.device = ids.device.map_or_else(Fact::default, Fact::Known);
    identity.name = (!name.is_empty()).then(|| name.to_owned());
    // Left out where it is zero, as are other zeros.
    identity.revision = Fact::Known(revision);
    let (base, sub) = match class_number(class).or_else(|| names.class(class)) {
        Some(class) => class,
        None => return,
    };
    identity.class = Fact::Known(Class { base, sub, interface: interface.unwrap_or_default() });
}

/// `PCI bridge [0604]`, `0604` (with `-n`), `Class [ff00]`.
fn class_number(text: &str) -> Option<(u8, u8)> {
    let digits = text.strip_suffix(']').and_then(|inner| inner.rsplit_once('[')).map(|(_, it)| it);
    let [base, sub] = number(digits.unwrap_or(text))?.to_be_bytes();
    Some((base, sub))
}

/// The name without the ids, and the ids: printed (`-nn`, `-n`), or of the name.
fn ids<'a>(text: &'a str, names: &Names) -> (&'a str, Ids) {
    if let Some(ids) = pair(text) {
        return ("", ids);
    }
    if let Some((name, digits)) = text.strip_suffix(']').and_then(|inner| inner.rsplit_once(" ["))
        && let Some(ids) = pair(digits)
    {
        return (name, ids);
    }
    (text, names.ids(text))
}

/// Ids at the end of a line about a subsystem, where they are printed.
pub(super) fn subsystem(text: &str) -> Option<(u16, u16)> {
    let digits = text.strip_suffix(']').and_then(|inner| inner.rsplit_once('[')).map(|(_, it)| it);
    let digits = digits.unwrap_or_else(|| text.strip_prefix("Device ").unwrap_or(text));
    let Ids { vendor, device } = pair(digits)?;
    Some((vendor?, device?))
}
