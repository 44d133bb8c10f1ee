//! What vendors say of their devices beside registers, as Linux has it: tables of facts and the
//! few rules that read them.
//!
//! A quirk is an assertion. Models that believe it mark what follows as asserted; `strict` does
//! not believe it.

use ringfence_addr::PciAddress;

use crate::function::Function;

pub(crate) mod acs;
mod acs_table;
mod alias_table;
mod names;

use alias_table::{ALIAS_ROWS, AliasRow, Uses};

/// Requester ids of its own bus that a function uses beside its own.
#[derive(Clone, Debug)]
pub(crate) struct Aliases {
    /// One bit for each device and function number.
    mask: [u64; 4],
    /// Who says so.
    pub(crate) by: &'static str,
    /// Whether all of them are known: some devices keep the list in their own registers.
    pub(crate) are_known: bool,
    /// Whether firmware says so and not a table of quirks.
    pub(crate) is_firmware: bool,
}

impl Aliases {
    /// Whether the function at `address`, on the same bus, is meant.
    pub(crate) fn contain(&self, address: PciAddress) -> bool {
        let [_, number] = address.requester_id().to_be_bytes();
        self.mask[usize::from(number >> 6)] >> (number & 63) & 1 == 1
    }

    fn add(&mut self, number: u8) {
        self.mask[usize::from(number >> 6)] |= 1 << (number & 63);
    }
}

/// The ids a function has, read or recognised by the name the source gives it.
pub(crate) fn ids(function: &Function) -> (Option<u16>, Option<u16>) {
    let identity = &function.identity;
    let vendor = identity.vendor.known().copied();
    let device = identity.device.known().copied();
    if vendor.is_some() && device.is_some() {
        return (vendor, device);
    }
    let (by_name_vendor, by_name_device) = names::recognise(identity.name.as_deref());
    (vendor.or(by_name_vendor), device.or(by_name_device))
}

fn is_in(table: &[(u16, u16)], function: &Function) -> bool {
    matches!(ids(function), (Some(vendor), Some(device)) if table.contains(&(vendor, device)))
}

/// The requester ids a function uses beside its own, if it is known for that.
pub(crate) fn aliases(function: &Function) -> Option<Aliases> {
    let (Some(vendor), Some(device)) = ids(function) else { return None };
    let row = ALIAS_ROWS.iter().find(|row| row.takes(function, vendor, device))?;
    let mut aliases =
        Aliases { mask: [0; 4], by: row.vendor_name, are_known: true, is_firmware: false };
    let slot = function.address.device() << 3;
    let own = function.address.function();
    match row.uses {
        Uses::FunctionZero if own == 0 => return None,
        Uses::FunctionOne if own == 1 => return None,
        Uses::FunctionZero => aliases.add(slot),
        Uses::FunctionOne => aliases.add(slot | 1),
        Uses::Fixed(numbers) => numbers.iter().for_each(|&number| aliases.add(number)),
        Uses::FiveOfEverySlot => {
            for number in (0..=u8::MAX).filter(|number| number & 7 < 5) {
                aliases.add(number);
            }
        }
        Uses::All => aliases.mask = [u64::MAX; 4],
        Uses::InItsRegisters => aliases.are_known = false,
    }
    Some(aliases)
}

impl AliasRow {
    fn takes(&self, function: &Function, vendor: u16, device: u16) -> bool {
        let subsystem = function.identity.subsystem.known();
        self.vendor == vendor
            && self.devices.contains(&device)
            && (self.subsystems.is_empty()
                || subsystem.is_some_and(|subsystem| self.subsystems.contains(subsystem)))
    }
}

/// The same with one more, by firmware's word.
pub(crate) fn with_firmware_alias(aliases: Option<Box<Aliases>>, to: PciAddress) -> Box<Aliases> {
    let mut aliases = aliases.unwrap_or_else(|| {
        Box::new(Aliases { mask: [0; 4], by: "firmware", are_known: true, is_firmware: true })
    });
    let [_, number] = to.requester_id().to_be_bytes();
    aliases.add(number);
    aliases
}

/// Whether this is a bridge from PCI Express that does not say so.
pub(crate) fn is_hidden_pcie_bridge(function: &Function) -> bool {
    is_in(alias_table::HIDDEN_PCIE_BRIDGES, function)
}

/// Whether the IOMMU translates below this bridge.
pub(crate) fn is_translation_root(function: &Function) -> bool {
    is_in(alias_table::TRANSLATION_ROOTS, function)
}

/// Whether requests keep their ids through this bridge, as Linux 7.3 has it.
pub(crate) fn is_bridge_without_alias(function: &Function) -> bool {
    is_in(alias_table::BRIDGES_WITHOUT_ALIAS, function)
}

/// Whether Linux 7.3 does without source validation here.
pub(crate) fn lacks_source_validation(function: &Function) -> bool {
    is_in(alias_table::WITHOUT_SOURCE_VALIDATION, function)
}

/// Whether this is an Intel Volume Management Device.
pub(crate) fn is_vmd_endpoint(function: &Function) -> bool {
    let driver = function.driver.known().and_then(|driver| driver.as_deref());
    let name = function.identity.name.as_deref().unwrap_or("");
    let by_id = matches!(ids(function), (Some(0x8086), Some(device))
        if alias_table::VMD_ENDPOINTS.contains(&device));
    driver == Some("vmd") || by_id || name.contains("Volume Management Device")
}

#[cfg(test)]
mod tests;
