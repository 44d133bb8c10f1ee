//! A running guest's IOMMU against its plan: what its kernel keeps of devices' addresses.
//!
//! The kernel's own account is a group's `reserved_regions`: `direct` and `direct-relaxable` are what
//! it maps one to one because a table said so, and `reserved` what it gives to nothing.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::{Gpa, PciAddress, Span};

use super::sweep::{common, joined, without};
use super::violation::{Rule, Violation};
use crate::map::Plan;
use crate::viommu::Viommu;

/// The longest list that is read: the kernel's is a page.
const LINES_MOST: usize = 256;

/// One of a guest's groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestGroup {
    /// Its functions, by their addresses in the guest.
    pub members: BTreeSet<PciAddress>,
    /// What is kept of their addresses, by the kernel's word for it.
    pub kept: BTreeMap<String, Vec<Span<Gpa>>>,
}

impl GuestGroup {
    /// Reads a group's `reserved_regions`, or says why it cannot be read.
    pub fn read(
        members: impl IntoIterator<Item = PciAddress>,
        reserved_regions: &str,
    ) -> Result<Self, String> {
        let mut group = Self { members: members.into_iter().collect(), kept: BTreeMap::new() };
        for (number, line) in reserved_regions.lines().take(LINES_MOST).enumerate() {
            let (span, kind) = line_of(line)
                .ok_or_else(|| format!("line {} is no `first last kind`", number + 1))?;
            group.kept.entry(kind.to_owned()).or_default().push(span);
        }
        Ok(group)
    }

    fn kept(&self, kinds: &[&str]) -> Vec<Span<Gpa>> {
        let lists = kinds.iter().filter_map(|kind| self.kept.get(*kind));
        joined(&lists.flatten().copied().collect::<Vec<_>>())
    }
}

fn line_of(line: &str) -> Option<(Span<Gpa>, &str)> {
    let mut words = line.split_whitespace();
    let mut number = || {
        let digits = words.next()?.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok().map(Gpa::new)
    };
    let span = Span::new(number()?, number()?)?;
    words.next().map(|kind| (span, kind))
}

/// Where the guest's kernel keeps other addresses of devices than its IOMMU was told; nothing if it
/// keeps those, each of the devices that they were told for.
pub fn check_guest_groups(plan: &Plan, groups: &[GuestGroup]) -> Vec<Violation> {
    let Some(told) = &plan.viommu else { return Vec::new() };
    let mut violations = Vec::new();
    let mut say = |span: Span<Gpa>, text: String| {
        violations.push(Violation::new(Rule::Guest, span, text));
    };
    // A device tree has a virtio-iommu map one to one, too.
    let kinds: &[&str] = match told.kind {
        Viommu::Virtio => &["direct", "direct-relaxable", "reserved"],
        _ => &["direct", "direct-relaxable"],
    };
    let all: Vec<_> = told.regions.iter().map(|region| region.span).collect();
    for group in groups {
        let names: Vec<_> = group.members.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        let of_group = told.regions.iter().filter(|one| !one.devices.is_disjoint(&group.members));
        let wanted: Vec<_> = of_group.map(|region| region.span).collect();
        let kept = group.kept(kinds);
        for span in without(&wanted, &kept) {
            say(span, format!("the guest's kernel may give {span} to a buffer of {names}"));
        }
        let is_ours = plan.functions.iter().any(|one| group.members.contains(&one.guest));
        // Others keep what their own firmware wants, as an ISA bridge does, but nothing of ours.
        let foreign = if is_ours { kept } else { common(&kept, &all) };
        for span in without(&foreign, &wanted) {
            say(
                span,
                format!("the guest's kernel keeps {span} for {names}, for which none told it"),
            );
        }
    }
    let seen: BTreeSet<_> = groups.iter().flat_map(|group| &group.members).collect();
    for region in &told.regions {
        for device in region.devices.iter().filter(|device| !seen.contains(device)) {
            say(region.span, format!("{device}, told to have {}, is in no group", region.span));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::{GuestIommu, GuestRegion, Machine, Request, plan};

    const KEPT: &str = "\
0x000000007b800000 0x000000007fffffff direct-relaxable
0x00000000fee00000 0x00000000feefffff msi
";

    fn at(text: &str) -> PciAddress {
        text.parse().expect("an address")
    }

    fn told() -> Plan {
        let memory = NonZeroU64::new(4 << 30).expect("some");
        let mut plan = plan(&[], &Request::new(memory, Machine::Q35)).expect("nothing is there");
        let span = "0x7b800000-0x7fffffff".parse().expect("a span");
        let devices = [at("0000:00:04.0")].into();
        let regions = vec![GuestRegion { span, devices, used: true }];
        plan.viommu = Some(GuestIommu { kind: Viommu::Intel, regions });
        plan
    }

    fn group(member: &str, lines: &str) -> GuestGroup {
        GuestGroup::read([at(member)], lines).expect("well formed")
    }

    #[test]
    fn a_region_is_kept_for_its_device_and_for_no_other() {
        let none = "0x00000000fee00000 0x00000000feefffff msi\n";
        let isa = "0x0000000000000000 0x0000000000ffffff direct-relaxable\n";
        let [here, there, bridge] = ["0000:00:04.0", "0000:00:05.0", "0000:00:1f.0"];
        let right = [group(here, KEPT), group(there, none), group(bridge, isa)];
        assert_eq!(check_guest_groups(&told(), &right), []);
        let part = KEPT.replace("7fffffff", "7effffff");
        for (groups, what) in [
            (vec![group(here, none)], "may give"),
            (vec![group(here, &part)], "0x7f000000-0x7fffffff"),
            (vec![group(here, KEPT), group(there, KEPT)], "0000:00:05.0, for which none told it"),
            (vec![group(there, none)], "in no group"),
        ] {
            let found = check_guest_groups(&told(), &groups);
            assert!(found.iter().any(|one| one.text.contains(what)), "{what}: {found:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_said() {
        assert!(GuestGroup::read([], "0x1000 0x0 direct").is_err());
        assert!(GuestGroup::read([], "cat: no such file").is_err());
        assert_eq!(GuestGroup::read([], ""), Ok(GuestGroup::default()));
    }
}
