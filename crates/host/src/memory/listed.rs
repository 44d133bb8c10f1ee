//! What the kernel lists for its groups, in `reserved_regions` (Linux,
//! `Documentation/ABI/testing/sysfs-kernel-iommu_groups`).

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::{Hpa, PciAddress, Span};

use crate::host::Host;

use super::RegionKind;

/// Where the kernel puts an interrupt controller's page for any IOMMU that has no window of its own
/// (`MSI_IOVA_BASE` in its SMMU and virtio drivers). The list calls both `msi`.
const SOFTWARE_MSI: (u64, u64) = (0x0800_0000, 0x080f_ffff);

/// An attribute is one page, and a list that does not fit is cut between lines. The longest line has
/// 55 bytes.
const CUT: usize = 4096 - 55;

/// Remarks about lines, at most.
const MOST_REMARKS: usize = 16;

/// The lists of all groups.
#[derive(Default)]
pub(super) struct Lists {
    /// Each region once, with the groups that it is listed for.
    pub(super) regions: BTreeMap<(Span<Hpa>, RegionKind), BTreeSet<u32>>,
    /// The groups whose list was read.
    pub(super) read: BTreeSet<u32>,
    /// Those whose list is as long as fits.
    pub(super) cut: BTreeSet<u32>,
    /// The functions of the groups.
    pub(super) members: BTreeMap<u32, Vec<PciAddress>>,
}

impl Lists {
    /// The functions of these groups.
    pub(super) fn functions(&self, groups: &BTreeSet<u32>) -> BTreeSet<PciAddress> {
        let members = groups.iter().filter_map(|group| self.members.get(group));
        members.flatten().copied().collect()
    }
}

/// The lists of a host.
pub(super) fn of(host: &Host, remarks: &mut Vec<String>) -> Lists {
    let mut lists = Lists::default();
    for function in host.functions.values() {
        if let Some(group) = function.kernel_group.known().copied().flatten() {
            lists.members.entry(group).or_default().push(function.address);
        }
    }
    let mut odd = 0;
    for (group, lines) in &host.reserved_regions {
        lists.read.insert(*group);
        for line in lines {
            match region(line) {
                Some(region) => _ = lists.regions.entry(region).or_default().insert(*group),
                None if odd < MOST_REMARKS => {
                    odd += 1;
                    let line: String = line.chars().take(80).collect();
                    remarks.push(format!("reserved_regions of group {group}: no region: {line:?}"));
                }
                None => {}
            }
        }
        if lines.iter().map(|line| line.len() + 1).sum::<usize>() > CUT {
            lists.cut.insert(*group);
            remarks.push(format!(
                "reserved_regions of group {group} is as long as the kernel makes it: what followed \
                 is not in it"
            ));
        }
    }
    lists
}

/// One line: `0x00000000fee00000 0x00000000feefffff msi`.
fn region(line: &str) -> Option<(Span<Hpa>, RegionKind)> {
    let mut words = line.split(' ');
    let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let (first, last) = (number()?, number()?);
    let kind = match (words.next()?, words.next()) {
        ("direct-relaxable", None) => RegionKind::Relaxable,
        ("direct", None) => RegionKind::Direct,
        ("reserved", None) => RegionKind::Reserved,
        ("msi", None) if (first, last) == SOFTWARE_MSI => RegionKind::SoftwareMsi,
        ("msi", None) => RegionKind::Msi,
        _ => return None,
    };
    Some((Span::new(Hpa::new(first), Hpa::new(last))?, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_kind_of_line_is_read() {
        for (line, expected) in [
            ("0x00000000fee00000 0x00000000feefffff msi", Some(RegionKind::Msi)),
            ("0x0000000008000000 0x00000000080fffff msi", Some(RegionKind::SoftwareMsi)),
            ("0x000000fd00000000 0x000000ffffffffff reserved", Some(RegionKind::Reserved)),
            ("0x000000002e000000 0x000000002e000ffe direct-relaxable", Some(RegionKind::Relaxable)),
            ("0x0000000000000000 0xffffffffffffffff direct", Some(RegionKind::Direct)),
            ("0x2 0x1 direct", None),
            ("0x1 0x2 another", None),
            ("0x1 0x2 direct more", None),
            ("1 2 direct", None),
            ("", None),
        ] {
            assert_eq!(region(line).map(|(_, kind)| kind), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_not(line in any::<String>(), words in "(0x[0-9a-f]{0,17} ){0,3}direct") {
            for line in [line, words] {
                if let Some((span, kind)) = region(&line) {
                    let (first, last) = (span.first().get(), span.last().get());
                    let again = format!("{first:#018x} {last:#018x} direct");
                    prop_assert_eq!(region(&again), Some((span, RegionKind::Direct)));
                    prop_assert_eq!(kind, RegionKind::Direct);
                }
            }
        }
    }
}
