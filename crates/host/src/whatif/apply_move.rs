//! Takes a device out of a host, and puts it below another bridge.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::PciAddress;

use crate::fact::Fact;
use crate::function::{Function, Header};
use crate::host::Host;
use crate::port::PortType;
use crate::topology::Topology;
use crate::whatif::WhatIfError;

/// Removes the device of `address` with all below it, and returns what was removed.
pub(super) fn take(
    host: &mut Host,
    address: PciAddress,
) -> Result<BTreeMap<PciAddress, Function>, WhatIfError> {
    if !host.functions.contains_key(&address) {
        return Err(WhatIfError::NoFunction(address));
    }
    let topology = Topology::of(host);
    let node = topology.index(address).ok_or(WhatIfError::NoFunction(address))?;
    let mut slot: Vec<usize> = topology.slot_mates(node).chain([node]).collect();
    // Virtual functions may be in other slots, and on buses of their own.
    let is_virtual =
        |other: &usize| topology.nodes[*other].physical.is_some_and(|of| slot.contains(&of));
    let virtuals: Vec<usize> = (0..topology.nodes.len()).filter(is_virtual).collect();
    slot.extend(virtuals);
    let mut addresses = Vec::new();
    while let Some(node) = slot.pop() {
        addresses.push(topology.nodes[node].address);
        if let Some(below) = topology.nodes[node].below {
            let mut open = vec![below];
            while let Some(bus) = open.pop() {
                let functions = topology.buses[bus].functions.iter();
                addresses.extend(functions.map(|&node| topology.nodes[node].address));
                open.extend_from_slice(&topology.buses[bus].children);
            }
        }
    }
    let taken = addresses.into_iter().filter_map(|address| host_entry(host, address));
    let taken: BTreeMap<_, _> = taken.collect();
    host.functions.retain(|address, _| !taken.contains_key(address));
    Ok(taken)
}

fn host_entry(host: &Host, address: PciAddress) -> Option<(PciAddress, Function)> {
    host.functions.get(&address).map(|function| (address, function.clone()))
}

/// Puts the device of `address`, with all below it, in the slot below a bridge, and returns where
/// each of its functions went.
pub(super) fn place(
    host: &mut Host,
    address: PciAddress,
    below: PciAddress,
) -> Result<BTreeMap<PciAddress, PciAddress>, WhatIfError> {
    let bridge = host.function(below).ok_or(WhatIfError::NoFunction(below))?;
    if !bridge.is_bridge() {
        return Err(WhatIfError::NotABridge(below));
    }
    let taken = take(host, address)?;
    if taken.contains_key(&below) {
        return Err(WhatIfError::BelowItself(address));
    }
    let topology = Topology::of(host);
    let there = topology.below(below);
    let node = topology.index(below).ok_or(WhatIfError::NoFunction(below))?;
    let is_link =
        matches!(topology.nodes[node].port, Fact::Known(Some(port)) if port.is_downstream());
    let device = if is_link {
        if let Some(by) = there.first() {
            return Err(WhatIfError::SlotTaken { below, by: *by });
        }
        0
    } else {
        let free = (0..=PciAddress::LAST_DEVICE)
            .find(|device| there.iter().all(|other| other.device() != *device));
        free.ok_or(WhatIfError::SlotTaken { below, by: there[0] })?
    };
    let path = path_to(&topology, node);
    let mut numbers = Numbers::of(host, below);
    let bus = match host.functions[&below].secondary_bus().filter(|bus| *bus > below.bus()) {
        Some(bus) => bus,
        None => numbers.next()?,
    };
    set_secondary(host, below, bus);
    numbers.used.insert(bus);
    put(host, taken, address, &Slot { domain: below.domain(), bus, device }, &mut numbers, &path)
}

struct Slot {
    domain: u32,
    bus: u8,
    device: u8,
}

/// Bus numbers that are free, upwards from a bridge.
struct Numbers {
    used: BTreeSet<u8>,
    above: u8,
}

impl Numbers {
    fn of(host: &Host, below: PciAddress) -> Self {
        let mut used = BTreeSet::new();
        for function in host.functions.values() {
            if function.address.domain() == below.domain() {
                used.insert(function.address.bus());
                if let Some(secondary) = function.secondary_bus() {
                    used.insert(secondary);
                }
            }
        }
        Self { used, above: below.bus() }
    }

    fn next(&mut self) -> Result<u8, WhatIfError> {
        let mut free = (self.above..=u8::MAX).skip(1).filter(|bus| !self.used.contains(bus));
        let bus = free.next().ok_or(WhatIfError::NoBusLeft)?;
        self.used.insert(bus);
        Ok(bus)
    }
}

/// The bridges from the root down to a node, itself last.
fn path_to(topology: &Topology<'_>, node: usize) -> Vec<PciAddress> {
    let mut path = vec![topology.nodes[node].address];
    let mut at = node;
    while let Some(bridge) = topology.bridge_of(at) {
        path.push(topology.nodes[bridge].address);
        at = bridge;
    }
    path.reverse();
    path
}

fn set_secondary(host: &mut Host, address: PciAddress, bus: u8) {
    if let Some(function) = host.functions.get_mut(&address) {
        function.header = Fact::Known(match function.header {
            Fact::Known(Header::CardBus { .. }) => {
                Header::CardBus { secondary: bus, subordinate: bus }
            }
            _ => Header::Bridge { secondary: bus, subordinate: bus },
        });
    }
}

/// Puts what was taken at its new place: new bus numbers, in order, so that what was below stays
/// below.
fn put(
    host: &mut Host,
    taken: BTreeMap<PciAddress, Function>,
    address: PciAddress,
    slot: &Slot,
    numbers: &mut Numbers,
    path: &[PciAddress],
) -> Result<BTreeMap<PciAddress, PciAddress>, WhatIfError> {
    numbers.above = slot.bus;
    let mut buses: BTreeMap<u8, u8> = BTreeMap::from([(address.bus(), slot.bus)]);
    for old in taken.keys().map(|address| address.bus()) {
        if let std::collections::btree_map::Entry::Vacant(entry) = buses.entry(old) {
            entry.insert(numbers.next()?);
        }
    }
    let moved = |old: PciAddress| {
        let is_of_slot = old.bus() == address.bus();
        // A device that was alone on its bus may have virtual functions in later slots.
        let device = if is_of_slot {
            old.device().checked_sub(address.device()).and_then(|by| by.checked_add(slot.device))
        } else {
            Some(old.device())
        };
        PciAddress::new(slot.domain, *buses.get(&old.bus())?, device?, old.function())
    };
    let mut places = BTreeMap::new();
    for (old, mut function) in taken.clone() {
        let new = moved(old).ok_or(WhatIfError::NoBusLeft)?;
        places.insert(old, new);
        function.address = new;
        function.path = match &function.path {
            Fact::Known(above) => {
                let kept = above.iter().filter_map(|bridge| {
                    taken.contains_key(bridge).then(|| moved(*bridge)).flatten()
                });
                Fact::Known(path.iter().copied().chain(kept).collect())
            }
            Fact::Unknown(why) => Fact::Unknown(*why),
        };
        function.physical_function =
            function.physical_function.map(|of| of.and_then(|of| moved(of).or(Some(of))));
        if let Some(secondary) = function.secondary_bus() {
            if let Some(&bus) = buses.get(&secondary).filter(|&&bus| bus > new.bus()) {
                let header = Header::Bridge { secondary: bus, subordinate: bus };
                function.header = Fact::Known(header);
            } else {
                // Nothing is below: a number that leads nowhere.
                let header = Header::Bridge { secondary: 0, subordinate: 0 };
                function.header = Fact::Known(header);
            }
        }
        host.functions.insert(new, function);
    }
    Ok(places)
}

/// Ports whose slot is free, in order.
pub(crate) fn free_ports(topology: &Topology<'_>) -> Vec<usize> {
    let is_free = |node: &usize| {
        let here = &topology.nodes[*node];
        let is_port =
            matches!(here.port, Fact::Known(Some(PortType::RootPort | PortType::DownstreamPort)));
        is_port && !here.absent && here.below.is_none() && here.function.is_bridge()
    };
    (0..topology.nodes.len()).filter(is_free).collect()
}
