//! Puts the functions of a host in their places.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use ringfence_addr::PciAddress;

use crate::fact::Fact;
use crate::function::Function;
use crate::host::Host;
use crate::port::PortType;
use crate::quirks;
use crate::topology::{Bus, Described, Node, Topology, virtual_functions, vmd};

impl<'a> Topology<'a> {
    /// The places of a host's functions.
    pub fn of(host: &'a Host) -> Self {
        let mut nodes: Vec<Node<'a>> =
            host.functions.values().map(|function| node(Described::Here(function))).collect();
        add_absent_bridges(host, &mut nodes);
        let buses = find_buses(&mut nodes);
        let mut topology =
            Self { host, nodes, buses, order: Vec::new(), has_amd_iommu: OnceCell::new() };
        virtual_functions::find(&mut topology);
        topology.find_bridges();
        vmd::find(&mut topology);
        topology.find_roots();
        topology.register();
        topology.settle();
        topology
    }

    /// Finds the bridge above each bus: where the source has paths, by them, else by numbers.
    fn find_bridges(&mut self) {
        let indices = Self::bus_indices(&self.buses);
        let mut claimed = vec![false; self.buses.len()];
        for (number, bus) in self.buses.iter().enumerate() {
            let paths = bus.functions.iter().map(|&node| &self.nodes[node]);
            let path = paths
                .filter(|node| node.physical.is_none())
                .find_map(|node| node.function.path.known());
            claimed[number] = path.is_some();
        }
        let mut links = Vec::new();
        for (number, bus) in self.buses.iter().enumerate() {
            let paths = bus.functions.iter().map(|&node| &self.nodes[node]);
            let mut paths = paths
                .filter(|node| node.physical.is_none())
                .filter_map(|node| node.function.path.known());
            let Some(last) = paths.next().and_then(|path| path.last()) else { continue };
            if last.domain() == bus.domain && last.bus() < bus.number {
                links.extend(self.index(*last).map(|bridge| (number, bridge)));
            }
        }
        for (bridge, node) in self.nodes.iter().enumerate() {
            let Some(secondary) = node.function.secondary_bus() else { continue };
            // Numbers grow on the way down; a bridge that says otherwise is not set up.
            if secondary <= node.address.bus() {
                continue;
            }
            let Some(&bus) = indices.get(&(node.address.domain(), secondary)) else { continue };
            if !claimed[bus] {
                claimed[bus] = true;
                links.push((bus, bridge));
            }
        }
        for (bus, bridge) in links {
            self.buses[bus].bridge = Some(bridge);
            self.buses[bus].parent = Some(self.nodes[bridge].bus);
            self.nodes[bridge].below = Some(bus);
        }
        for bus in 0..self.buses.len() {
            if self.buses[bus].bridge.is_none() {
                self.buses[bus].parent = self.physical_bus(bus);
            }
        }
    }

    /// The bus of the physical functions whose virtual ones are alone on this bus.
    fn physical_bus(&self, bus: usize) -> Option<usize> {
        let here = &self.buses[bus];
        let mut parent = None;
        for &node in &here.functions {
            let physical = self.nodes[node].physical?;
            let above = self.nodes[physical].bus;
            parent = (self.buses[above].number < here.number).then_some(above);
        }
        parent
    }

    fn find_roots(&mut self) {
        // Parents have lower numbers in the same domain, so they come first.
        for bus in 0..self.buses.len() {
            match self.buses[bus].parent {
                Some(parent) => {
                    self.buses[bus].root = self.buses[parent].root;
                    self.buses[parent].children.push(bus);
                }
                None => self.buses[bus].root = bus,
            }
        }
    }

    /// The order in which Linux finds functions: a bus whole, then each bus below in turn.
    fn register(&mut self) {
        let roots = |is_vmd: bool| {
            let root = |&(_, bus): &(usize, &Bus)| bus.parent.is_none();
            self.buses
                .iter()
                .enumerate()
                .filter(root)
                .filter(move |(_, bus)| bus.vmd.is_some() == is_vmd)
                .map(|(number, _)| number)
        };
        // The driver of VMD adds its domains when everything else is there.
        let mut open: Vec<usize> = roots(false).chain(roots(true)).collect();
        open.reverse();
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut late = Vec::new();
        while let Some(bus) = open.pop() {
            for &node in &self.buses[bus].functions {
                if self.nodes[node].physical.is_some() {
                    late.push(node);
                } else {
                    order.push(node);
                }
            }
            let mut children = self.buses[bus].children.clone();
            children.sort_by_key(|&child| (self.buses[child].bridge, self.buses[child].number));
            open.extend(children.into_iter().rev());
        }
        order.extend(late);
        self.order = order;
    }

    /// What depends on the places: corrected port types, several functions or one, aliases.
    fn settle(&mut self) {
        for at in 0..self.order.len() {
            let index = self.order[at];
            let above = self.bridge_of(index).map(|bridge| self.nodes[bridge].port);
            let node = &self.nodes[index];
            let port = corrected(node.function.pcie.map(|pcie| pcie.map(|pcie| pcie.port)), above);
            let link = matches!(
                above,
                Some(Fact::Known(Some(
                    PortType::RootPort | PortType::DownstreamPort | PortType::PciToPcieBridge
                )))
            );
            let (multifunction, is_read) = self.is_one_of_several(index, link);
            let node = &mut self.nodes[index];
            node.port = port;
            node.multifunction = multifunction;
            node.multifunction_is_read = is_read;
            node.aliases = quirks::aliases(&node.function).map(Box::new);
        }
        self.add_firmware_aliases();
    }

    /// Whether Linux counts a function as one of several, and whether a register says so.
    fn is_one_of_several(&self, index: usize, on_a_link: bool) -> (bool, bool) {
        let node = &self.nodes[index];
        if node.physical.is_some() {
            // Linux clears it for virtual functions, whatever their header says.
            return (false, true);
        }
        // Behind a link there is one device: a function at another slot number is one more of it.
        if node.address.function() > 0 || (on_a_link && node.address.device() > 0) {
            return (true, true);
        }
        match node.function.multifunction {
            Fact::Known(bit) => (bit, true),
            Fact::Unknown(_) => {
                let mates = self.slot_mates(index);
                let any = mates.into_iter().any(|mate| self.nodes[mate].physical.is_none());
                (any, any)
            }
        }
    }

    fn add_firmware_aliases(&mut self) {
        for (from, to) in &self.host.firmware_aliases {
            // Linux takes an alias for another device's id only on the same bus.
            if from == to || (from.domain(), from.bus()) != (to.domain(), to.bus()) {
                continue;
            }
            if let Some(index) = self.index(*from) {
                let aliases = self.nodes[index].aliases.take();
                let aliases = quirks::with_firmware_alias(aliases, *to);
                self.nodes[index].aliases = Some(aliases);
            }
        }
    }
}

fn node(function: Described<'_>) -> Node<'_> {
    Node {
        address: function.address,
        function,
        absent: false,
        bus: 0,
        below: None,
        port: Fact::default(),
        multifunction: false,
        multifunction_is_read: false,
        physical: None,
        aliases: None,
    }
}

/// Bridges that a path names and the source does not have: all about them is unknown.
fn add_absent_bridges(host: &Host, nodes: &mut Vec<Node<'_>>) {
    let mut absent = BTreeMap::new();
    // Functions beside each other have the same bridge above: one need not look it up again.
    let mut there = None;
    for function in host.functions.values() {
        let Some(path) = function.path.known() else { continue };
        for (depth, bridge) in path.iter().enumerate().rev() {
            // A bridge that is there has its own path.
            if there != Some(*bridge) && host.functions.contains_key(bridge) {
                there = Some(*bridge);
            }
            if there == Some(*bridge) || absent.contains_key(bridge) {
                break;
            }
            if bridge.domain() == function.address.domain() {
                absent.insert(*bridge, ends(&path[..depth]));
            }
        }
    }
    for (address, path) in absent {
        let mut function = Function::new(address);
        function.path = Fact::Known(path);
        let mut node = node(Described::Absent(Box::new(function)));
        node.absent = true;
        nodes.push(node);
    }
    nodes.sort_by_key(|node| node.address);
}

/// What is right above and what is outermost: all that the places turn on. All of a path for each
/// bridge of it would be more than what was read by as much as the path is long.
fn ends(path: &[PciAddress]) -> Vec<PciAddress> {
    match path {
        [first, .., last] => vec![*first, *last],
        path => path.to_vec(),
    }
}

fn find_buses(nodes: &mut [Node<'_>]) -> Vec<Bus> {
    let mut buses: Vec<Bus> = Vec::new();
    for (index, node) in nodes.iter_mut().enumerate() {
        let PlaceOfBus { domain, number } = PlaceOfBus::of(node.address);
        match buses.last_mut() {
            Some(bus) if bus.domain == domain && bus.number == number => bus.functions.push(index),
            _ => buses.push(Bus {
                domain,
                number,
                bridge: None,
                parent: None,
                root: 0,
                functions: vec![index],
                children: Vec::new(),
                vmd: None,
            }),
        }
        node.bus = buses.len() - 1;
    }
    buses
}

struct PlaceOfBus {
    domain: u32,
    number: u8,
}

impl PlaceOfBus {
    fn of(address: PciAddress) -> Self {
        Self { domain: address.domain(), number: address.bus() }
    }
}

/// The port type, where the stated one cannot be: a downstream port below another is an upstream
/// port, and the other way around.
fn corrected(
    stated: Fact<Option<PortType>>,
    above: Option<Fact<Option<PortType>>>,
) -> Fact<Option<PortType>> {
    let Some(Fact::Known(Some(above))) = above else { return stated };
    match stated {
        Fact::Known(Some(PortType::DownstreamPort))
            if above.is_downstream() || above == PortType::PciToPcieBridge =>
        {
            Fact::Known(Some(PortType::UpstreamPort))
        }
        Fact::Known(Some(PortType::UpstreamPort)) if above == PortType::UpstreamPort => {
            Fact::Known(Some(PortType::DownstreamPort))
        }
        _ => stated,
    }
}
