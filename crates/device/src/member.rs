//! What is so of a function before it is claimed.

use std::fmt;
use std::path::Path;

use ringfence_addr::PciAddress;
use ringfence_refusal::{Failure, Fault, Refusal};
use serde::{Deserialize, Serialize};

use crate::address_text;
use crate::place::Place;
use crate::refusals;
use crate::root::{Root, read};

/// A function of a group, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where it was found.
    #[serde(with = "address_text")]
    pub address: PciAddress,
    /// Where it is plugged in.
    pub place: Place,
    /// What it is.
    pub identity: Identity,
    /// The driver bound to it.
    pub driver: Option<String>,
    /// What `driver_override` said.
    pub driver_override: Option<String>,
    /// The kernel's group it was in.
    pub kernel_group: Option<u32>,
}

/// Who made a function and what it is: enough to see that another has taken its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Subsystem vendor id, 0 for a bridge.
    pub subsystem_vendor: u16,
    /// Subsystem device id, 0 for a bridge.
    pub subsystem_device: u16,
    /// Class code, 24 bits.
    pub class: u32,
}

impl Identity {
    /// Whether it is a bridge to another PCI bus, which VFIO has no driver for.
    pub fn is_bridge(self) -> bool {
        // PCI-to-PCI, CardBus, and semi-transparent PCI-to-PCI.
        matches!(self.class >> 8, 0x0604 | 0x0607 | 0x0609)
    }

    /// Whether it is part of the chipset: a bridge to anything, the host included.
    pub fn is_chipset(self) -> bool {
        self.class >> 16 == 0x06
    }
}

impl fmt::Display for Identity {
    /// As `lspci -n` prints ids, subsystem and class after them.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vendor, device, subsystem_vendor, subsystem_device, class } = self;
        write!(formatter, "{vendor:04x}:{device:04x}")?;
        write!(formatter, " (subsystem {subsystem_vendor:04x}:{subsystem_device:04x},")?;
        write!(formatter, " class {class:06x})")
    }
}

impl Member {
    /// Looks at the function at `address`; refuses if there is none.
    pub fn read(root: &Root, address: PciAddress) -> Result<Self, Failure> {
        let unknown = || Refusal::new(&refusals::NO_FUNCTION, address.to_string());
        Ok(Self {
            address,
            place: Place::of(root, address)?.ok_or_else(unknown)?,
            identity: identity_of(root, address)?.ok_or_else(unknown)?,
            driver: root.driver_of(address)?,
            driver_override: root.override_of(address)?,
            kernel_group: root.kernel_group_of(address)?,
        })
    }
}

/// Looks at all of `functions`, in the order of their addresses and each once.
pub fn survey(root: &Root, functions: &[PciAddress]) -> Result<Vec<Member>, Failure> {
    let mut functions = functions.to_vec();
    functions.sort_unstable();
    functions.dedup();
    functions.into_iter().map(|address| Member::read(root, address)).collect()
}

/// Who the function at `address` is now, `None` if there is none.
pub(crate) fn identity_of(root: &Root, address: PciAddress) -> Result<Option<Identity>, Fault> {
    let folder = root.function(address);
    let id = |name: &str| -> Result<Option<u16>, Fault> {
        let number = number(&folder.join(name))?;
        Ok(number.and_then(|number| u16::try_from(number).ok()))
    };
    let (Some(vendor), Some(device)) = (id("vendor")?, id("device")?) else { return Ok(None) };
    let Some(class) = number(&folder.join("class"))? else { return Ok(None) };
    Ok(Some(Identity {
        vendor,
        device,
        subsystem_vendor: id("subsystem_vendor")?.unwrap_or(0),
        subsystem_device: id("subsystem_device")?.unwrap_or(0),
        class,
    }))
}

/// The hexadecimal number a file holds: `0x8086`.
fn number(path: &Path) -> Result<Option<u32>, Fault> {
    let text = read(path)?;
    Ok(text.and_then(|text| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()))
}
