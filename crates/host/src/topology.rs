//! The tree of buses and bridges, as Linux would have found it.
//!
//! Built from bus numbers, and from the source's own paths where it has them. Nothing here trusts
//! the numbers: a bridge leads only to a higher bus of its domain, so no input makes a cycle.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Deref;

use ringfence_addr::PciAddress;

use crate::fact::Fact;
use crate::function::Function;
use crate::host::Host;
use crate::partition::GroupKey;
use crate::port::PortType;
use crate::quirks;
use crate::quirks::Aliases;

mod build;
mod virtual_functions;
mod vmd;

/// The functions of a host in their places.
#[derive(Debug)]
pub struct Topology<'a> {
    pub(crate) host: &'a Host,
    /// By address.
    pub(crate) nodes: Vec<Node<'a>>,
    /// By domain and number.
    pub(crate) buses: Vec<Bus>,
    /// Nodes in the order in which Linux registers them: all of a bus, then what is below each of
    /// its bridges, VMD domains and virtual functions last.
    pub(crate) order: Vec<usize>,
    /// Whether the host has an AMD IOMMU, once somebody asked.
    pub(crate) has_amd_iommu: OnceCell<bool>,
}

/// A function in its place.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) address: PciAddress,
    pub(crate) function: Described<'a>,
    /// A path names it, but the source does not have it.
    pub(crate) absent: bool,
    pub(crate) bus: usize,
    /// The bus right below, if any function is known there.
    pub(crate) below: Option<usize>,
    /// What it is on PCI Express, after Linux's corrections of impossible types.
    pub(crate) port: Fact<Option<PortType>>,
    /// Whether its device has several functions, after what its siblings say.
    pub(crate) multifunction: bool,
    /// Whether `multifunction` rests on a register.
    pub(crate) multifunction_is_read: bool,
    /// For a virtual function, the physical one.
    pub(crate) physical: Option<usize>,
    /// Requester ids it uses beside its own.
    pub(crate) aliases: Option<Box<Aliases>>,
}

/// What is known of the function at a place.
#[derive(Debug)]
pub(crate) enum Described<'a> {
    /// The source has it.
    Here(&'a Function),
    /// Only a path names it.
    Absent(Box<Function>),
}

impl Deref for Described<'_> {
    type Target = Function;

    fn deref(&self) -> &Function {
        match self {
            Self::Here(function) => function,
            Self::Absent(function) => function,
        }
    }
}

/// A bus and what is on it.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) domain: u32,
    pub(crate) number: u8,
    /// The bridge right above: none on a root bus, nor on one that only holds virtual functions.
    pub(crate) bridge: Option<usize>,
    /// The bus above, of the bridge or of the physical functions.
    pub(crate) parent: Option<usize>,
    /// The root bus above, or itself.
    pub(crate) root: usize,
    /// Its functions by device and function number.
    pub(crate) functions: Vec<usize>,
    /// The buses right below.
    pub(crate) children: Vec<usize>,
    /// For a root bus of VMD, the endpoint for which its functions translate.
    pub(crate) vmd: Option<Vmd>,
}

/// The VMD endpoint of a domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vmd {
    pub(crate) endpoint: usize,
    /// Whether the source says so, or there is but one.
    pub(crate) is_known: bool,
}

impl Topology<'_> {
    /// The index of the function there.
    pub(crate) fn index(&self, address: PciAddress) -> Option<usize> {
        self.nodes.binary_search_by_key(&address, |node| node.address).ok()
    }

    /// The bridge right above a function, or `None` if it is on a root bus.
    pub fn bridge_above(&self, address: PciAddress) -> Option<PciAddress> {
        let bridge = self.bridge_of(self.index(address)?)?;
        Some(self.nodes[bridge].address)
    }

    /// The functions right below a bridge.
    pub fn below(&self, address: PciAddress) -> Vec<PciAddress> {
        let below = self.index(address).and_then(|node| self.nodes[node].below);
        below.map_or_else(Vec::new, |bus| {
            self.buses[bus].functions.iter().map(|&node| self.nodes[node].address).collect()
        })
    }

    /// The functions on root buses, by address.
    pub fn roots(&self) -> Vec<PciAddress> {
        let roots = self.nodes.iter().filter(|node| self.buses[node.bus].parent.is_none());
        roots.map(|node| node.address).collect()
    }

    /// Whether other functions are in its slot, by its own word or theirs.
    pub fn is_multifunction(&self, address: PciAddress) -> bool {
        self.index(address).is_some_and(|node| self.nodes[node].multifunction)
    }

    /// The bridge above a node, past buses of virtual functions.
    pub(crate) fn bridge_of(&self, node: usize) -> Option<usize> {
        let mut bus = &self.buses[self.nodes[node].bus];
        loop {
            if let Some(bridge) = bus.bridge {
                return Some(bridge);
            }
            bus = &self.buses[bus.parent?];
        }
    }

    /// The VMD endpoint for which a node translates.
    pub(crate) fn vmd_of(&self, node: usize) -> Option<Vmd> {
        let root = self.buses[self.nodes[node].bus].root;
        self.buses[root].vmd.filter(|vmd| vmd.endpoint != node)
    }

    /// The functions in the slot of a node but itself.
    pub(crate) fn slot_mates(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let place = self.nodes[node].address;
        let bus = &self.buses[self.nodes[node].bus];
        let start = bus
            .functions
            .partition_point(|&other| self.nodes[other].address.device() < place.device());
        bus.functions[start..]
            .iter()
            .copied()
            .take_while(move |&other| self.nodes[other].address.device() == place.device())
            .filter(move |&other| other != node)
    }

    /// Whether Linux takes this bridge without PCI Express capability for one from PCI Express.
    pub(crate) fn is_hidden_pcie_bridge(&self, node: usize) -> bool {
        let here = &self.nodes[node];
        if !matches!(here.port, Fact::Known(None)) || !here.function.is_bridge() {
            return false;
        }
        let Some(above) = self.bridge_of(node) else { return false };
        let Fact::Known(Some(port)) = self.nodes[above].port else { return false };
        port != PortType::PcieToPciBridge && quirks::is_hidden_pcie_bridge(&here.function)
    }

    /// The name of a place that bus numbers do not change: slots from the root down.
    pub fn key(&self, address: PciAddress) -> GroupKey {
        match self.index(address) {
            Some(node) => GroupKey(self.place(node)),
            None => GroupKey(address.to_string()),
        }
    }

    /// Slots from the root bus to the node.
    fn place(&self, node: usize) -> String {
        let physical = self.nodes[node].physical;
        let mut slots = vec![physical.unwrap_or(node)];
        while let Some(bridge) = slots.last().and_then(|&at| self.bridge_of(at)) {
            slots.push(bridge);
        }
        let top = slots.last().copied().unwrap_or(node);
        let root = &self.buses[self.buses[self.nodes[top].bus].root];
        // Room for the root bus and for six characters a slot.
        let mut place = String::with_capacity(12 + 6 * slots.len());
        // Infallible: a String grows.
        _ = match root.vmd.filter(|vmd| vmd.endpoint != top) {
            // The kernel makes up the domain's number; the endpoint's place is firmware's.
            Some(vmd) => {
                write!(place, "{}/vmd-{:02x}", self.nodes[vmd.endpoint].address, root.number)
            }
            None => write!(place, "{:04x}:{:02x}", root.domain, root.number),
        };
        for slot in slots.into_iter().rev() {
            let address = self.nodes[slot].address;
            _ = write!(place, "/{:02x}.{:x}", address.device(), address.function());
        }
        if let Some(physical) = physical {
            _ = write!(place, "/{}", self.virtual_function_number(physical, node));
        }
        place
    }

    fn virtual_function_number(&self, physical: usize, node: usize) -> String {
        let from = i32::from(self.nodes[physical].address.requester_id());
        let distance = i32::from(self.nodes[node].address.requester_id()) - from;
        match self.nodes[physical].function.virtual_functions.known().copied().flatten() {
            Some(range) if range.stride > 0 => {
                format!("vf{}", (distance - i32::from(range.offset)) / i32::from(range.stride))
            }
            _ => format!("vf+{distance:x}"),
        }
    }

    /// Functions by domain and bus, to look up who is where.
    fn bus_indices(buses: &[Bus]) -> BTreeMap<(u32, u8), usize> {
        buses.iter().enumerate().map(|(index, bus)| ((bus.domain, bus.number), index)).collect()
    }
}
