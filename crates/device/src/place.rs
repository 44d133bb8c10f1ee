//! Where a function is plugged in, in slots from the root down.
//!
//! Bus numbers shift when a card is added; slots do not. The place of `0000:03:00.0` behind the root
//! port `0000:00:01.0` is `0000:00/01.0/00.0`: the root bus, which firmware fixes, then device and
//! function at each step.

use std::fmt;
use std::path::{Path, PathBuf};

use ringfence_addr::PciAddress;
use ringfence_refusal::Fault;
use serde::{Deserialize, Serialize};

use crate::root::{Root, entries, real, whole_address};

/// The slots from the root down to a function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Place(String);

impl Place {
    /// The place as text: `0000:00/01.0/00.0`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The place of the function at `address`, `None` if there is none.
    pub fn of(root: &Root, address: PciAddress) -> Result<Option<Self>, Fault> {
        let Some(path) = real(&root.function(address))? else { return Ok(None) };
        Ok(Self::from_device_path(&path))
    }

    /// Reads it off the path of a device: `…/pci0000:00/0000:00:01.0/0000:03:00.0`. Of a function
    /// below VMD or another bridge to a domain of its own, the last root bus in the path is
    /// followed by what is below, and what leads to it comes before.
    fn from_device_path(path: &Path) -> Option<Self> {
        let mut place = String::new();
        for part in path.components().filter_map(|part| part.as_os_str().to_str()) {
            if let Some(bus) = part.strip_prefix("pci").filter(|bus| is_root_bus(bus)) {
                if !place.is_empty() {
                    place.push('/');
                }
                place.push_str(if place.is_empty() { bus } else { BELOW });
            } else if let Some(address) = whole_address(part).filter(|_| !place.is_empty()) {
                place.push('/');
                place.push_str(&slot_of(address));
            }
        }
        place.contains('/').then_some(Self(place))
    }

    /// The function that is at this place now. Goes down from the root bus, so that it takes no
    /// longer on a host with many functions.
    pub fn find(&self, root: &Root) -> Result<Option<PciAddress>, Fault> {
        let mut slots = self.0.split('/');
        let bus = slots.next().unwrap_or_default();
        let Some(mut folder) = root_bus(root, bus)? else { return Ok(None) };
        let mut found = None;
        for slot in slots {
            let mut next = None;
            for name in entries(&folder)? {
                let address = whole_address(&name).filter(|address| slot_of(*address) == slot);
                let is_bus = name.strip_prefix("pci").is_some_and(is_root_bus);
                if address.is_some() || (slot == BELOW && is_bus) {
                    found = address;
                    next = Some(folder.join(name));
                }
            }
            let Some(next) = next else { return Ok(None) };
            folder = next;
        }
        Ok(found)
    }
}

/// Stands for a domain below a function, which the kernel numbers as it comes to it.
const BELOW: &str = "below";

/// The slot and function, as a part of a place.
fn slot_of(address: PciAddress) -> String {
    format!("{:02x}.{:x}", address.device(), address.function())
}

/// The folder of a root bus, wherever its host bridge is.
fn root_bus(root: &Root, bus: &str) -> Result<Option<PathBuf>, Fault> {
    if !is_root_bus(bus) {
        return Ok(None);
    }
    if let Some(folder) = real(&root.join(format!("sys/devices/pci{bus}")))? {
        return Ok(Some(folder));
    }
    // `…/pci0000:00/pci_bus/0000:00`
    let class = real(&root.join("sys/class/pci_bus").join(bus))?;
    let folder = class.as_deref().and_then(Path::parent).and_then(Path::parent);
    let is_it =
        |folder: &&Path| folder.file_name().is_some_and(|name| *name == *format!("pci{bus}"));
    Ok(folder.filter(is_it).map(Path::to_path_buf))
}

/// `0000:00`.
fn is_root_bus(text: &str) -> bool {
    let Some((domain, bus)) = text.split_once(':') else { return false };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    domain.len() >= 4 && bus.len() == 2 && is_number(domain) && is_number(bus)
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Option<String> {
        Place::from_device_path(Path::new(path)).map(|place| place.0)
    }

    #[test]
    fn a_place_has_no_bus_number_but_the_root_bus() {
        let at =
            |bus: &str| place(&format!("/sys/devices/pci0000:00/0000:00:1c.4/0000:{bus}:00.1"));
        assert_eq!(at("03").as_deref(), Some("0000:00/1c.4/00.1"));
        assert_eq!(at("03"), at("07"));
    }

    #[test]
    fn a_domain_below_a_function_keeps_what_leads_to_it() {
        let at = |domain: &str| {
            place(&format!("/sys/devices/pci0000:00/0000:00:0e.0/pci{domain}:e0/{domain}:e0:1d.0"))
        };
        assert_eq!(at("10000").as_deref(), Some("0000:00/0e.0/below/1d.0"));
        assert_eq!(at("10000"), at("10001"));
    }

    #[test]
    fn what_is_not_below_a_root_bus_has_no_place() {
        assert_eq!(place("/sys/devices/platform/serial8250"), None);
        assert_eq!(place("/sys/devices/pci0000:00"), None);
        assert_eq!(place("/tmp/0000:00:01.0"), None);
    }
}
