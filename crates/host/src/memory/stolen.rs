//! The memory of Intel's graphics, by the registers of the function and of the host bridge beside it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ringfence_addr::{Address as _, Hpa, PciAddress, Span};

use crate::fact::{Fact, Unknown};
use crate::function::{Class, Function};
use crate::graphics::{self, Platform};
use crate::host::Host;

use super::{HostMemory, Owners, Region, RegionKind, Role, Stolen};

const INTEL: u16 = 0x8086;

/// Decodes what each graphics function on bus 0 has, and compares it with the regions.
pub(super) fn take(host: &Host, memory: &mut HostMemory) {
    for function in host.functions.values() {
        let Fact::Known(Class { base: 0x03, .. }) = function.identity.class else { continue };
        let address = function.address;
        if address.bus() != 0 || function.identity.vendor != Fact::Known(INTEL) {
            continue;
        }
        let mut stolen = read(function, &mut memory.remarks);
        if let Fact::Known(stolen) = &mut stolen {
            find_firmware(host, function, stolen);
            check_bridge(host, function, stolen, &mut memory.remarks);
            check_regions(address, stolen, memory);
        }
        memory.stolen.insert(address, stolen);
    }
}

/// What the registers of one function say.
fn read(function: &Function, remarks: &mut Vec<String>) -> Fact<Stolen> {
    let address = function.address;
    let device = match function.identity.device {
        Fact::Known(device) => device,
        Fact::Unknown(why) => return Fact::Unknown(why),
    };
    let Some(platform) = Platform::of_device(device) else {
        remarks.push(format!(
            "{address}: where graphics {INTEL:04x}:{device:04x} has its memory is not known here"
        ));
        return Fact::Unknown(Unknown::NotInSource);
    };
    if !platform.tells_in_config() {
        remarks.push(format!(
            "{address}: {} says in its BAR alone where its memory is, which was not opened",
            platform.name
        ));
        return Fact::Unknown(Unknown::NotInSource);
    }
    decode(function, &platform, remarks).unwrap_or_else(Fact::Unknown)
}

/// A register that was kept; of a function whose registers were not read, why not.
fn register(function: &Function, offset: u16) -> Result<u32, Unknown> {
    match (function.registers.get(&offset), &function.pcie) {
        (Some(Fact::Known(value)), _) => Ok(*value),
        (Some(Fact::Unknown(why)), _) | (None, Fact::Unknown(why)) => Err(*why),
        (None, Fact::Known(_)) => Err(Unknown::NotInSource),
    }
}

fn decode(
    function: &Function,
    platform: &Platform,
    remarks: &mut Vec<String>,
) -> Result<Fact<Stolen>, Unknown> {
    let address = function.address;
    let control = register(function, graphics::CONTROL)?;
    let mut registers = vec![format!("GGC 0x50 = {:#06x}", control & 0xffff)];
    let (low, high) = if platform.has_wide_data() {
        let low = register(function, graphics::DATA_LOW)?;
        let high = register(function, graphics::DATA_HIGH)?;
        registers.push(format!("BDSM 0xc0 = {high:#x}:{low:08x}"));
        (low, high)
    } else {
        let low = register(function, graphics::DATA)?;
        registers.push(format!("BDSM 0x5c = {low:#010x}"));
        (low, 0)
    };
    let (data_length, page_table_length) =
        (platform.data_length(control), platform.page_table_length(control));
    let first = platform.data_first(low, high);
    if data_length.is_none() || page_table_length.is_none() {
        remarks.push(format!(
            "{address}: {} has no such sizes as GGC {:#06x} says",
            platform.name,
            control & 0xffff
        ));
        return Ok(Fact::Unknown(Unknown::Garbled));
    }
    if first.is_none() && data_length != Some(0) {
        remarks.push(format!(
            "{address}: GGC {:#06x} has memory, and BDSM no place",
            control & 0xffff
        ));
    }
    let op_region = match register(function, graphics::OP_REGION) {
        Ok(value) => {
            registers.push(format!("ASLS 0xfc = {value:#010x}"));
            Fact::Known(graphics::op_region(value))
        }
        Err(why) => Fact::Unknown(why),
    };
    Ok(Fact::Known(Stolen {
        generation: platform.generation,
        page_table: first.and_then(|first| platform.page_table(control, first)),
        data: first.and_then(|first| platform.data(control, first)),
        // BAR 0 says, see `Platform::firmware_area`; in config space there may be a copy.
        firmware: Fact::default(),
        op_region,
        registers,
    }))
}

impl Stolen {
    /// Page table and data as one: what firmware should have reserved for the device.
    pub fn span(&self) -> Option<Span<Hpa>> {
        match (self.page_table, self.data) {
            (Some(page_table), Some(data)) => page_table.join(&data),
            (one, other) => one.or(other),
        }
    }
}

/// Takes from config space what firmware keeps, where host bridge and graphics say the same of it.
fn find_firmware(host: &Host, function: &Function, stolen: &mut Stolen) {
    let bridge = host.function(PciAddress::from_requester_id(function.address.domain(), 0));
    let value = |function: Option<&Function>, offset: u16| {
        function.and_then(|it| it.registers.get(&offset)).and_then(|it| it.known().copied())
    };
    let own = value(Some(function), graphics::PROTECTED);
    let Some(register) = own.filter(|own| value(bridge, graphics::BRIDGE_PROTECTED) == Some(*own))
    else {
        return;
    };
    let area = stolen.data.and_then(|data| graphics::protected_area(register, data));
    if area.is_some() {
        stolen.registers.push(format!("PAVPC 0xf0 = {register:#010x}"));
        stolen.firmware = Fact::Known(area);
    }
}

/// Compares with the host bridge: its copies are the same, and memory ends where PCI begins.
fn check_bridge(host: &Host, function: &Function, stolen: &Stolen, remarks: &mut Vec<String>) {
    let platform = function.identity.device.known().and_then(|it| Platform::of_device(*it));
    if !platform.is_some_and(|it| it.has_host_bridge_copies()) {
        return;
    }
    let address = function.address;
    let bridge = PciAddress::from_requester_id(address.domain(), 0);
    let bridge = host.function(bridge);
    let copy = |offset: u16| {
        let value = *bridge?.registers.get(&offset)?.known()?;
        graphics::whole_megabytes(value)
    };
    let own = (stolen.data.map(|it| it.first()), stolen.page_table.map(|it| it.first()));
    let after = stolen.data.and_then(|data| data.last().checked_add(1));
    for (what, register, ours, theirs) in [
        ("begins", "the host bridge's BDSM", own.0, copy(graphics::BRIDGE_DATA)),
        ("has its page table", "the host bridge's BGSM", own.1, copy(graphics::BRIDGE_PAGE_TABLE)),
        ("ends before", "TOLUD", after, copy(graphics::TOP_LOW)),
    ] {
        // On some generations a copy is not there and reads as zero; above 4 GiB it has no room.
        let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
        if ours != theirs && ours.get() <= u64::from(u32::MAX) {
            remarks.push(format!(
                "{address}: its memory {what} at {ours}, and {register} says {theirs}"
            ));
        }
    }
}

/// Compares with what is reserved for the device, and adds what its registers point at if nobody
/// reserved it.
fn check_regions(address: PciAddress, stolen: &Stolen, memory: &mut HostMemory) {
    let Some(span) = stolen.span() else { return };
    let mut source = format!("registers of {address}:");
    for register in &stolen.registers {
        // Infallible: a String grows.
        _ = write!(source, " {register},");
    }
    let source = source.trim_end_matches(',').to_owned();
    let is_own = |region: &&mut Region| {
        region.kind < RegionKind::SoftwareMsi
            && region.span.overlaps(&span)
            && matches!(&region.owners, Owners::These(own) | Owners::Among(own) if own.contains(&address))
    };
    let mut covered = false;
    let mut remarks = Vec::new();
    for region in memory.regions.iter_mut().filter(is_own) {
        if region.span != span {
            remarks.push(format!(
                "{address}: its registers say {span}, and {} has {}",
                region.sources.first().map_or("a region", String::as_str),
                region.span
            ));
        }
        covered |= region.span.encloses(&span);
        region.role = Role::Graphics;
        region.sources.push(source.clone());
    }
    if !covered {
        if memory.iommu.is_known() {
            remarks.push(format!("{address}: its registers say {span}, and nobody reserved it"));
        }
        memory.regions.push(Region {
            span,
            // What nobody reserved nobody keeps free, either.
            kind: RegionKind::Relaxable,
            owners: Owners::These([address].into()),
            shared: BTreeSet::new(),
            role: Role::Graphics,
            sources: vec![source],
        });
    }
    memory.remarks.append(&mut remarks);
}
