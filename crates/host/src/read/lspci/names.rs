//! Ids by name, for listings made without `-nn`.
//!
//! `lspci` took the names from the database of PCI ids; the same database leads back, where a name
//! stands for one id alone. A name that is not in ours leaves the id unknown.

use std::collections::HashMap;

use pci_ids::{Classes, Vendor, Vendors};

/// What vendors in the kernel's tables of quirks were called in older databases.
const FORMER_NAMES: &[(&str, u16)] = &[
    ("Advanced Micro Devices [AMD]", 0x1022),
    ("Advanced Micro Devices [AMD] nee ATI", 0x1002),
    ("Advanced Micro Devices, Inc. [AMD/ATI]", 0x1002),
    ("ATI Technologies Inc", 0x1002),
    ("Broadcom Corporation", 0x14e4),
    ("Broadcom Limited", 0x14e4),
    ("Cavium Networks", 0x177d),
    ("Intel Corporation", 0x8086),
    ("Pericom Semiconductor", 0x12d8),
    ("PLX Technology, Inc.", 0x10b5),
];

/// No vendor's name is longer. Each is sought once for every space in a line, and a line may be as long
/// as its file.
const LONGEST_VENDOR: usize = 256;

/// The names of vendors and classes.
pub(super) struct Names {
    vendors: HashMap<&'static str, Vec<&'static Vendor>>,
    classes: HashMap<&'static str, (u8, u8)>,
}

/// Ids a name stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) vendor: Option<u16>,
    pub(super) device: Option<u16>,
}

impl Names {
    pub(super) fn new() -> Self {
        let mut vendors: HashMap<_, Vec<_>> = HashMap::new();
        for vendor in Vendors::iter() {
            vendors.entry(vendor.name()).or_default().push(vendor);
        }
        let mut classes = HashMap::new();
        for class in Classes::iter() {
            for subclass in class.subclasses() {
                classes.entry(subclass.name()).or_insert((class.id(), subclass.id()));
            }
        }
        Self { vendors, classes }
    }

    /// Base class and subclass of the name of a class.
    pub(super) fn class(&self, name: &str) -> Option<(u8, u8)> {
        self.classes.get(name).copied()
    }

    /// The ids of `name`, a vendor's name, a space and a device's.
    pub(super) fn ids(&self, name: &str) -> Ids {
        if let Some(ids) = name.strip_prefix("Device ").and_then(pair) {
            return ids;
        }
        // The longest vendor's name it begins with: some are the beginning of another.
        for (at, _) in name.rmatch_indices(' ').filter(|(at, _)| *at <= LONGEST_VENDOR) {
            let (Some(vendor), Some(device)) = (name.get(..at), name.get(at + 1..)) else {
                continue;
            };
            let number = device.strip_prefix("Device ").and_then(number);
            if let Some(candidates) = self.vendors.get(vendor) {
                return choose(candidates, device, number);
            }
            if let Some((_, vendor)) = FORMER_NAMES.iter().find(|(former, _)| *former == vendor) {
                return Ids { vendor: Some(*vendor), device: number };
            }
        }
        Ids::default()
    }
}

/// Of vendors with one name the one that has a device of this name.
fn choose(candidates: &[&'static Vendor], device: &str, number: Option<u16>) -> Ids {
    let mut found = candidates.iter().flat_map(|vendor| {
        vendor.devices().filter(|known| known.name() == device).map(|known| known.as_vid_pid())
    });
    if number.is_none()
        && let Some((vendor, id)) = found.next()
    {
        return match found.next() {
            None => Ids { vendor: Some(vendor), device: Some(id) },
            Some((other, _)) => Ids { vendor: (other == vendor).then_some(vendor), device: None },
        };
    }
    match candidates {
        [one] => Ids { vendor: Some(one.id()), device: number },
        _ => Ids { vendor: None, device: number },
    }
}

/// `1af4:1000`.
pub(super) fn pair(text: &str) -> Option<Ids> {
    let (vendor, device) = text.split_once(':')?;
    Some(Ids { vendor: Some(number(vendor)?), device: Some(number(device)?) })
}

/// Four hexadecimal digits.
pub(super) fn number(digits: &str) -> Option<u16> {
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_as_long_as_its_file_takes_no_time() {
        let names = Names::new();
        assert!(Vendors::iter().all(|vendor| vendor.name().len() <= LONGEST_VENDOR));
        // Every prefix looked up would be hours.
        assert_eq!(names.ids(&"a ".repeat(8 << 20)), Ids::default());
        let known = names.ids("Intel Corporation Device 1234");
        assert_eq!((known.vendor, known.device), (Some(0x8086), Some(0x1234)));
    }
}
