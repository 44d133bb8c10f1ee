//! Isolation groups: which functions cannot be separated, by one model's reckoning.

use std::collections::BTreeMap;
use std::fmt;

use ringfence_addr::PciAddress;

use crate::reason::Reason;

/// The groups of a host by one model. Every function the model speaks of is in exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The model's name: `linux-6.12`.
    pub model: &'static str,
    /// The groups, by their first functions.
    pub groups: Vec<Group>,
    /// Functions that are in no group, and why: the kernel did not probe them, say.
    pub without: BTreeMap<PciAddress, Reason>,
}

/// Functions between which isolation is not guaranteed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What names the group wherever bus numbers have gone.
    pub key: GroupKey,
    /// Its functions, in order.
    pub functions: Vec<PciAddress>,
    /// Why they are together, and why nothing else is with them.
    pub reasons: Vec<Reason>,
}

/// A group's name by the place of its first function: slots from the root down, which stay when
/// bus numbers and the kernel's group numbers do not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey(pub String);

impl fmt::Display for GroupKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Partition {
    /// The group `address` is in.
    pub fn group_of(&self, address: PciAddress) -> Option<&Group> {
        self.groups.iter().find(|group| group.functions.binary_search(&address).is_ok())
    }

    /// The sets of functions alone, to compare with another partition's: names and numbers of
    /// groups mean nothing.
    pub fn sets(&self) -> Vec<Vec<PciAddress>> {
        let mut sets: Vec<_> = self.groups.iter().map(|group| group.functions.clone()).collect();
        sets.sort();
        sets
    }
}
