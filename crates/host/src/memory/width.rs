//! How many bits a bus address may have.

use ringfence_tables::{Content, Ivrs, Table};

use crate::fact::{Fact, Unknown};
use crate::host::{Host, Iommu};

use super::IommuMaker;

/// The fewest that any IOMMU translates.
pub(super) fn address_bits(
    host: &Host,
    maker: Fact<IommuMaker>,
    tables: &[Table],
    remarks: &mut Vec<String>,
) -> Fact<u8> {
    match maker {
        Fact::Known(IommuMaker::Intel) => intel(host, tables, remarks),
        Fact::Known(IommuMaker::Amd) => amd(host, tables),
        // An SMMU's registers and a virtio-iommu's configuration are shown to nobody.
        Fact::Known(IommuMaker::Arm | IommuMaker::Virtio) => Fact::default(),
        Fact::Unknown(why) => Fact::Unknown(why),
    }
}

/// The registers of the IOMMUs in use whose names begin so.
fn registers<'a>(host: &'a Host, name: &'a str) -> impl Iterator<Item = &'a Iommu> {
    let iommus = host.iommus.known().into_iter().flatten();
    iommus.filter(move |iommu| iommu.name.starts_with(name))
}

/// By each unit's capability register; without, by the host address width of the table, which units
/// should translate at least (VT-d 4.1, section 11.4.2, MGAW).
fn intel(host: &Host, tables: &[Table], remarks: &mut Vec<String>) -> Fact<u8> {
    let mut bits: Option<u8> = None;
    let mut unread = None;
    for iommu in registers(host, "dmar") {
        match iommu.features {
            Fact::Known(register) => {
                let of_it = vt_d_bits(register);
                bits = Some(bits.map_or(of_it, |least| least.min(of_it)));
            }
            Fact::Unknown(why) => unread = Some(why),
        }
    }
    let width = tables.iter().find_map(|table| match &table.content {
        Content::Dmar(dmar) => u8::try_from(dmar.address_bits()).ok().filter(|it| *it <= 64),
        _ => None,
    });
    match (bits, unread, width) {
        (Some(bits), None, width) => {
            if let Some(width) = width.filter(|width| *width > bits) {
                remarks.push(format!(
                    "VT-d translates {bits} bits, and DMAR states addresses of {width}: what is above \
                     no device reaches through it"
                ));
            }
            Fact::Known(bits)
        }
        (bits, _, Some(width)) => {
            remarks.push(format!(
                "address width: {width} bits as DMAR states; the units' own registers were not read"
            ));
            Fact::Known(bits.map_or(width, |bits| bits.min(width)))
        }
        (_, why, None) => Fact::Unknown(why.unwrap_or(Unknown::NotInSource)),
    }
}

/// What a unit translates by its capability register: MGAW, bits 21:16, and no more than the largest
/// page table it walks, SAGAW, bits 12:8.
fn vt_d_bits(register: u64) -> u8 {
    // Six bits, so at most 64.
    let most = (register >> 16 & 0x3f) as u8 + 1;
    let tables = [(12, 64), (11, 57), (10, 48), (9, 39), (8, 30)];
    let walked = tables.iter().find(|(bit, _)| register >> bit & 1 != 0);
    walked.map_or(most, |(_, bits)| most.min(*bits))
}

/// By HATS, bits 11:10 of the extended feature register (AMD IOMMU 3.08, section 3.4.9): how many
/// levels of page tables are walked. Firmware has copies in IVRS; some are of kinds without, where
/// the width in its head says (section 5.2.1, VASize).
fn amd(host: &Host, tables: &[Table]) -> Fact<u8> {
    let ivrs = tables.iter().find_map(|table| match &table.content {
        Content::Ivrs(ivrs) => Some(ivrs),
        _ => None,
    });
    let live: Vec<_> = registers(host, "ivhd").map(|iommu| iommu.features).collect();
    let known: Vec<_> = live.iter().filter_map(|register| register.known().copied()).collect();
    let registers = match (known.len() == live.len() && !known.is_empty(), ivrs) {
        (true, _) => known,
        (false, Some(ivrs)) => copies(ivrs),
        (false, None) => Vec::new(),
    };
    let of_registers: Option<Vec<u8>> = registers.into_iter().map(amd_bits).collect();
    let stated =
        ivrs.map(|ivrs| (ivrs.info >> 15 & 0x7f) as u8).filter(|it| (32..=64).contains(it));
    match of_registers.unwrap_or_default().into_iter().min().or(stated) {
        Some(bits) => Fact::Known(bits),
        None if live.iter().any(Fact::is_known) => Fact::Unknown(Unknown::Garbled),
        None => live.first().map_or(Fact::default(), |register| register.map(|_| 0)),
    }
}

/// The copies of extended feature registers in the table that are not all zero.
fn copies(ivrs: &Ivrs) -> Vec<u64> {
    let registers = ivrs.ivhds().filter_map(|(_, it)| it.features.map(|[first, _]| first));
    registers.filter(|register| *register != 0).collect()
}

fn amd_bits(register: u64) -> Option<u8> {
    match register >> 10 & 3 {
        0 => Some(48),
        1 => Some(57),
        2 => Some(64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vt_d_translates_what_it_says_and_walks() {
        // The first two are a Kaby Lake's: it would walk more than it translates.
        for (register, bits) in [
            (0xd2_008c_4066_0462, 39),
            (0x1c0_000c_4066_0462, 39),
            (0x2f_0000 | 1 << 10, 48),
            (0x38_0000 | 1 << 11 | 1 << 10, 57),
            (0x38_0000 | 1 << 10, 48),
            (0x2f_0000 | 1 << 9, 39),
            (0x2f_0000, 48),
            (u64::MAX, 64),
            (0, 1),
        ] {
            assert_eq!(vt_d_bits(register), bits, "{register:#x}");
        }
    }

    #[test]
    fn amd_translates_what_it_walks() {
        assert_eq!(amd_bits(0x58f_77ef_2229_4ade), Some(64));
        assert_eq!(amd_bits(0), Some(48));
        assert_eq!(amd_bits(1 << 10), Some(57));
        assert_eq!(amd_bits(3 << 10), None);
    }
}
