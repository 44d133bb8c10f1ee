//! An IVRS with an IVMD block for each region and device: otherwise as QEMU makes it
//! (`build_amd_iommu`).

use ringfence_addr::PciAddress;
use ringfence_tables::ivrs::{DeviceEntries, DeviceEntry, Ivhd, Ivmd};
use ringfence_tables::{Block, Content, Ivrs, Table};

use super::header;
use crate::map::Plan;
use crate::viommu::GuestIommu;

/// Where the IOMMU's registers are (`AMDVI_BASE_ADDR`).
pub(super) const REGISTERS: u64 = 0xfed8_0000;
/// Where its capability is in its config space.
const CAPABILITY: u16 = 0x40;
/// Extended features; 40 bits of physical address.
const INFO: u32 = 1 | 40 << 8;
/// HyperTransport tunnel, remote IOTLBs; in type 0x10 also prefetching and page requests.
const FLAGS: [u8; 2] = [0xd1, 0x11];
/// What type 0x10 says of its features: guest translation, and interrupts in its virtual APIC format.
const ATTRIBUTES: u32 = 0x44;
/// Its extended feature register (`AMDVI_EXT_FEATURES` with 64-bit addresses and no x2APIC).
const FEATURES: u64 = 0x29d3;
/// QEMU's I/O APIC sends as this function (`AMDVI_IOAPIC_SB_DEVID`).
const IO_APIC: u16 = 0xa0;
/// Device numbers that are tried for the IOMMU's own function, from the end: the last is the chipset's.
const DEVICES: std::ops::RangeInclusive<u8> = 1..=0x1e;

/// The function that the IOMMU itself is: on the root bus, where nothing of the host's is put.
pub(super) fn function(plan: &Plan) -> PciAddress {
    let mut free = DEVICES.rev().filter(|device| {
        let taken = |guest: PciAddress| guest.bus() == 0 && guest.device() == *device;
        !plan.functions.iter().any(|function| taken(function.guest))
            && !plan.windows.iter().any(|window| taken(window.guest))
    });
    let device = free.next().unwrap_or(*DEVICES.end());
    PciAddress::from_requester_id(0, u16::from(device) << 3)
}

pub(super) fn table(plan: &Plan, told: &GuestIommu) -> Table {
    let unit = |kind: u8, flags: u8, attributes: u32, features: Option<[u64; 2]>| {
        let all = DeviceEntry::Short { kind: 1, device: 0, setting: 0 };
        let io_apic = DeviceEntry::Special {
            reserved: 0,
            setting: 0,
            handle: 0,
            device: IO_APIC,
            variety: 1,
        };
        let entries = DeviceEntries { list: vec![all, io_apic], rest: Vec::new() };
        let device = function(plan).requester_id();
        let (capability, base, segment, info) = (CAPABILITY, REGISTERS, 0, 0);
        Block::Ivhd(Ivhd {
            kind,
            flags,
            device,
            capability,
            base,
            segment,
            info,
            attributes,
            features,
            entries,
        })
    };
    let [old, new] = FLAGS;
    let mut blocks =
        vec![unit(0x10, old, ATTRIBUTES, None), unit(0x11, new, 0, Some([FEATURES, 0]))];
    for region in &told.regions {
        let length = region.span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get);
        blocks.extend(region.devices.iter().map(|at| {
            let id = at.requester_id();
            Block::Ivmd(Ivmd::unity(id, id, region.span.first().get(), length))
        }));
    }
    Table::new(header(plan, *b"IVRS", 1), Content::Ivrs(Ivrs::new(INFO, blocks)))
}
