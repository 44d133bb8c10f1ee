//! AMD-Vi: memory blocks by requester id, of the one type of IOMMU block that the kernel chose.

use ringfence_addr::PciAddress;

use super::{AsLinux, LinuxKind, PciFunctions, region};
use crate::Table;
use crate::ivrs::{Block, DeviceEntry, Ivhd, Ivmd, Ivrs};
use crate::place::{HYPERTRANSPORT, MSI};
use crate::table::sum;

const PAGE_MASK: u64 = 0xfff;
/// The highest block type that is looked at for the type to use.
const TYPE_MAX: u8 = 0x40;

pub(super) fn regions(table: &Table, ivrs: &Ivrs, functions: &PciFunctions) -> AsLinux {
    if sum(&table.stated()) != 0 {
        return AsLinux::off("IVRS invalid checksum");
    }
    if matches!(ivrs.rest[..], [_, _, 0, 0, ..]) {
        return AsLinux::off("a block has length zero, and the kernel loops for ever");
    }
    let kind = chosen(ivrs);
    let units: Vec<&Ivhd> =
        ivrs.ivhds().map(|(_, ivhd)| ivhd).filter(|ivhd| Some(ivhd.kind) == kind).collect();
    if units.is_empty() {
        return AsLinux::off("no IOMMU of a type that is supported");
    }
    let mut answer = AsLinux::default();
    for address in functions.by_address.keys() {
        let id = address.requester_id();
        let in_segment = || units.iter().filter(|it| u32::from(it.segment) == address.domain());
        let last = in_segment().map(|ivhd| last_device(ivhd)).max().unwrap_or_default();
        let has_unit =
            in_segment().any(|it| translated(it).any(|(low, high)| low <= id && id <= high));
        let is_unit = in_segment().any(|ivhd| ivhd.device == id);
        if !has_unit || is_unit || id > last {
            continue;
        }
        let mut list = Vec::new();
        for (at, ivmd) in ivrs.ivmds() {
            if !applies(ivmd, *address, last) {
                continue;
            }
            let (first, length) = (page_align(ivmd.start), page_align(ivmd.length));
            let end = length.checked_sub(1).and_then(|less| first.checked_add(less));
            let one = end.and_then(|end| region(first, end, LinuxKind::Direct));
            if one.is_none() {
                let remark = format!("IVRS+{at:#x}: the kernel's region is empty or wraps");
                if !answer.remarks.contains(&remark) {
                    answer.remarks.push(remark);
                }
            }
            list.extend(one);
        }
        list.extend(region(MSI.0, MSI.1, LinuxKind::Msi));
        list.extend(region(HYPERTRANSPORT.0, HYPERTRANSPORT.1, LinuxKind::Reserved));
        answer.regions.insert(*address, super::group(&list));
    }
    answer
}

/// The type of the last block of the first IOMMU (`get_highest_supported_ivhd_type`).
fn chosen(ivrs: &Ivrs) -> Option<u8> {
    let first = ivrs.blocks.first()?;
    let own = device(first);
    let looked_at = ivrs.blocks.iter().take_while(|block| block.kind() <= TYPE_MAX);
    let of_it = looked_at.filter(|block| device(block) == own);
    Some(of_it.last().map_or(first.kind(), Block::kind))
}

fn device(block: &Block) -> u16 {
    match block {
        Block::Ivhd(ivhd) => ivhd.device,
        Block::Ivmd(ivmd) => ivmd.device,
        Block::Unknown { body, .. } => {
            body.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes))
        }
    }
}

/// The highest requester id that the kernel makes room for (`find_last_devid_from_ivhd`).
fn last_device(ivhd: &Ivhd) -> u16 {
    let ids = ivhd.entries.list.iter().map(|entry| match *entry {
        DeviceEntry::Short { kind: 1, .. } => u16::MAX,
        DeviceEntry::Short { kind: 2 | 4, device, .. }
        | DeviceEntry::Alias { kind: 0x42, device, .. }
        | DeviceEntry::Extended { kind: 0x46, device, .. } => device,
        _ => 0,
    });
    ids.max().unwrap_or_default()
}

/// What the IOMMU translates for. At the end of every range the kernel adds the id that the last
/// range of aliases stood for, which is zero before there was one.
fn translated(ivhd: &Ivhd) -> impl Iterator<Item = (u16, u16)> {
    let ends = ivhd.entries.list.iter().any(|it| matches!(it, DeviceEntry::Short { kind: 4, .. }));
    let has_aliases = ivhd.entries.list.iter().any(|it| matches!(it, DeviceEntry::Alias { .. }));
    let stray = (ends && !has_aliases).then_some((0, 0));
    ivhd.requesters().into_iter().chain(stray)
}

fn applies(ivmd: &Ivmd, address: PciAddress, last: u16) -> bool {
    let id = address.requester_id();
    let is_in = match ivmd.kind {
        0x20 => id <= last,
        0x21 => id == ivmd.device,
        0x22 => ivmd.device <= id && id <= ivmd.last,
        _ => false,
    };
    let counts = ivmd.is_unity() || ivmd.is_exclusion();
    is_in && counts && u32::from(ivmd.segment) == address.domain()
}

/// The kernel's `PAGE_ALIGN`, which wraps at the top.
fn page_align(number: u64) -> u64 {
    number.wrapping_add(PAGE_MASK) & !PAGE_MASK
}
