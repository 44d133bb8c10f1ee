//! What a kernel listed beside what was predicted.

use std::collections::BTreeSet;
use std::fmt;

use ringfence_addr::PciAddress;
use ringfence_tables::linux::group;
use ringfence_tables::{ScopePath, Table, as_linux};

use super::listing::Listing;
use super::place::Place;

/// How a prediction and a kernel compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every group's list is what was predicted, to the letter.
    Equal,
    /// They differ, each group as told, or nothing could be compared.
    Different(Vec<String>),
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal => formatter.write_str("equal"),
            Self::Different(how) => write!(formatter, "different: {}", how.join("; ")),
        }
    }
}

/// Compares what is predicted of a table with what a kernel that has it listed, on a machine that has
/// functions at these places.
pub(super) fn compare(table: &Table, places: &[Place], listing: &Listing) -> Verdict {
    let linux = as_linux([table], &listing.functions);
    let mut how = Vec::new();
    for place in places {
        let (start_bus, hops) = (place.bus, place.hops.clone());
        let path = ScopePath { segment: 0, start_bus, hops };
        let end = path.resolve(&listing.functions);
        if !end.is_some_and(|end| listing.functions.by_address.contains_key(&end)) {
            how.push(format!("the machine has no function at {path}"));
        }
    }
    if let Some(why) = linux.off {
        how.push(format!("predicted to be off: {why}"));
    }
    let listed: BTreeSet<PciAddress> =
        listing.groups.iter().flat_map(|group| group.members.iter().copied()).collect();
    let predicted: BTreeSet<PciAddress> = linux.regions.keys().copied().collect();
    for address in listed.symmetric_difference(&predicted) {
        let whose = if listed.contains(address) { "the kernel" } else { "the prediction" };
        how.push(format!("only {whose} has an IOMMU for {address}"));
    }
    for one in &listing.groups {
        let of_members = one.members.iter().filter_map(|member| linux.regions.get(member));
        let predicted: Vec<String> =
            group(of_members.flatten()).iter().map(ToString::to_string).collect();
        if predicted != one.lines {
            let members: Vec<String> = one.members.iter().map(ToString::to_string).collect();
            how.push(format!(
                "{}: predicted {predicted:?}, listed {:?}",
                members.join(" "),
                one.lines
            ));
        }
    }
    if how.is_empty() { Verdict::Equal } else { Verdict::Different(how) }
}

#[cfg(test)]
mod tests {
    use ringfence_tables::{
        Content, Dmar, Drhd, Header, Rmrr, Scope, ScopeKind, Scopes, Structure,
    };

    use super::*;
    use crate::replay::place::places;

    fn table() -> Table {
        let unit =
            Drhd { flags: 1, size: 0, segment: 0, base: 0xfed9_0000, scopes: Scopes::default() };
        let list = vec![Scope::new(ScopeKind::Endpoint, 0, &[[2, 0]])];
        let scopes = Scopes { list, rest: Vec::new() };
        let (base, limit) = (0x7b80_0000, 0x7fff_ffff);
        let rmrr = Rmrr { reserved: 0, segment: 0, base, limit, scopes };
        let structures = vec![Structure::Drhd(unit), Structure::Rmrr(rmrr)];
        Table::new(Header::new(*b"DMAR", 1), Content::Dmar(Dmar::new(39, structures)))
    }

    fn compared(region: &str, address: &str) -> Verdict {
        let text = format!(
            "function {address} 0x030000 {}\ngroup {address}\n{region}\n\
             0x00000000fee00000 0x00000000feefffff msi\n",
            vec!["00"; 32].join(" ")
        );
        let listing = Listing::read(&text).expect("well formed");
        compare(&table(), &places(&table()), &listing)
    }

    #[test]
    fn any_difference_is_told() {
        let good = "0x000000007b800000 0x000000007fffffff direct-relaxable";
        assert_eq!(compared(good, "0000:00:02.0"), Verdict::Equal);
        for (region, address, what) in [
            ("0x000000007b800000 0x000000007fffffff direct", "0000:00:02.0", "predicted"),
            ("0x000000007b800000 0x000000007fffefff direct-relaxable", "0000:00:02.0", "listed"),
            (good, "0000:00:03.0", "no function at 0000:00:02.0"),
        ] {
            let told = compared(region, address).to_string();
            assert!(told.contains(what), "{told}");
        }
    }
}
