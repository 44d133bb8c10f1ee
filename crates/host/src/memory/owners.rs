//! From devices as a table names them to functions of a host.

use std::collections::BTreeSet;

use ringfence_addr::PciAddress;
use ringfence_tables::{Devices, ReservedRegion, ScopePath};

use crate::fact::Fact;
use crate::function::Header;
use crate::host::Host;

use super::Owners;

/// Owners of all regions together, at most; tables of real hosts have some hundred.
const MOST_OWNERS: usize = 1 << 20;

/// Finds owners, as long as they are not too many.
pub(super) struct Finder<'a> {
    host: &'a Host,
    left: usize,
}

/// Whose a region is, and what was not found.
pub(super) struct Found {
    pub(super) owners: Owners,
    pub(super) remarks: Vec<String>,
}

/// Where a path leads.
enum End {
    At(PciAddress),
    /// To no function of this host.
    Nowhere,
    /// A bridge on the way was not read.
    Unread,
}

impl<'a> Finder<'a> {
    pub(super) fn new(host: &'a Host) -> Self {
        Self { host, left: MOST_OWNERS }
    }

    /// The owners of a region. What one device of many cannot be found for is not known.
    pub(super) fn find(&mut self, region: &ReservedRegion) -> Found {
        let mut found = Found { owners: Owners::Unknown, remarks: Vec::new() };
        if let [Devices::Requesters { segment, first, last }] = region.devices[..] {
            found.owners = match (first, last) {
                (0, u16::MAX) => Owners::All,
                _ if first == last => {
                    Owners::These([PciAddress::from_requester_id(segment, first)].into())
                }
                _ => Owners::Range(
                    PciAddress::from_requester_id(segment, first),
                    PciAddress::from_requester_id(segment, last),
                ),
            };
            return found;
        }
        let mut functions = BTreeSet::new();
        let mut is_whole = true;
        for devices in &region.devices {
            match devices {
                Devices::Path { path, and_behind } => match self.end(path) {
                    End::At(end) => is_whole &= self.add(&mut functions, end, *and_behind),
                    End::Nowhere => found.remarks.push(format!("{path} is no function here")),
                    End::Unread => {
                        is_whole = false;
                        found.remarks.push(format!("where {path} leads was not read"));
                    }
                },
                Devices::Requesters { segment, first, last } => {
                    is_whole &= self.add_range(&mut functions, *segment, *first, *last);
                }
                Devices::Streams { .. } => {
                    is_whole = false;
                    found
                        .remarks
                        .push(format!("{devices} are of no PCI function that the table names"));
                }
                // Not a PCI function, so nobody here.
                Devices::Namespace(_) => {}
            }
        }
        if self.left == 0 {
            found.remarks.push("more owners than hosts have".to_owned());
        }
        if is_whole && self.left > 0 {
            found.owners = Owners::These(functions);
        }
        found
    }

    fn end(&self, path: &ScopePath) -> End {
        let functions = &self.host.functions;
        let mut unread = false;
        let mut at = PciAddress::new(
            path.segment.into(),
            path.start_bus,
            path.hops.first().map_or(0xff, |hop| hop[0]),
            path.hops.first().map_or(0xff, |hop| hop[1]),
        );
        for hop in path.hops.iter().skip(1) {
            let Some(bridge) = at else { return End::Nowhere };
            let below = match functions.get(&bridge).map(|function| function.header) {
                Some(Fact::Known(Header::Bridge { secondary, .. })) => secondary,
                Some(Fact::Unknown(_)) => {
                    unread = true;
                    break;
                }
                None if functions.is_empty() => {
                    unread = true;
                    break;
                }
                _ => return End::Nowhere,
            };
            at = PciAddress::new(bridge.domain(), below, hop[0], hop[1]);
        }
        match at {
            _ if unread => End::Unread,
            Some(at) => End::At(at),
            None => End::Nowhere,
        }
    }

    /// Adds a function, or instead of a bridge those behind it, if there are any: a bridge starts no
    /// requests. False if they may be others.
    fn add(&mut self, to: &mut BTreeSet<PciAddress>, end: PciAddress, and_behind: bool) -> bool {
        let header = self.host.function(end).map(|function| function.header);
        let (true, Some(Fact::Known(Header::Bridge { secondary, subordinate }))) =
            (and_behind, header)
        else {
            to.insert(end);
            self.left = self.left.saturating_sub(1);
            // A bridge that is not there has nothing behind it.
            return !and_behind || (header.is_none() && !self.host.functions.is_empty());
        };
        let at = |bus, rest| {
            PciAddress::from_requester_id(end.domain(), u16::from_be_bytes([bus, rest]))
        };
        let before = to.len();
        self.extend(to, at(secondary, 0), at(subordinate, u8::MAX));
        if to.len() == before {
            to.insert(end);
        }
        true
    }

    /// Adds those there of a span of requester ids, and all of them while that is one; false if they
    /// may be others.
    fn add_range(
        &mut self,
        to: &mut BTreeSet<PciAddress>,
        segment: u32,
        first: u16,
        last: u16,
    ) -> bool {
        let [low, high] = [first, last].map(|id| PciAddress::from_requester_id(segment, id));
        if first == last {
            to.insert(low);
            self.left = self.left.saturating_sub(1);
            return true;
        }
        self.extend(to, low, high);
        !self.host.functions.is_empty()
    }

    fn extend(&mut self, to: &mut BTreeSet<PciAddress>, first: PciAddress, last: PciAddress) {
        if first > last {
            return;
        }
        for function in self.host.functions.range(first..=last).map(|(_, function)| function) {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            if !function.is_bridge() {
                to.insert(function.address);
            }
        }
    }
}
