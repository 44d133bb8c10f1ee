//! QEMU's devices at the places a table names, of the class a real machine has there.
//!
//! Linux gives up a region for graphics and USB, and for nothing else, so classes matter. A table does
//! not tell them; by custom they go with the address.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::place::Place;

/// A bus and what is on it, by device and function number.
#[derive(Debug, Default)]
struct Bus {
    functions: BTreeMap<[u8; 2], Option<Bus>>,
}

/// What `q35` has by itself on bus 0.
const FIXED: &[[u8; 2]] = &[[0, 0], [0x1f, 0], [0x1f, 2], [0x1f, 3]];

/// Where nobody's function is, behind a port that is numbered last.
const BYSTANDER: u8 = 0x1e;

/// The highest bus number that is reached by ports in front of it; above, the bus is a root bus.
const PORTS_MOST: u8 = 31;

/// QEMU's arguments for functions at these places and two that no table names.
pub(super) fn arguments(places: &[Place]) -> Result<Vec<String>> {
    let mut root = Bus::default();
    let mut others: BTreeMap<u8, Bus> = BTreeMap::new();
    for place in places {
        let bus = if place.bus == 0 { &mut root } else { others.entry(place.bus).or_default() };
        bus.add(&place.hops, place.is_bridge)?;
    }
    let is_deep = |below: &Bus| below.functions.values().any(Option::is_some);
    let is_deep = root.functions.values().flatten().any(is_deep);
    let (near, far): (BTreeMap<_, _>, BTreeMap<_, _>) =
        others.into_iter().partition(|(number, _)| !is_deep && *number <= PORTS_MOST);
    root.lead_to(near)?;
    root.bystanders()?;
    let mut writer = Writer::default();
    for (number, bus) in far {
        let device = root.free_device(3)?;
        let bus = bus.whole();
        // A root bus of QEMU's takes bridges alone, at any device number. Others are put behind a port on
        // it, which leads to the next bus, and below which Linux looks for device 0 alone.
        let id = if bus.functions.values().all(Option::is_some) {
            writer.bridge(&format!("pxb-pcie,bus_nr={number}"), "pcie.0", [device, 0])
        } else {
            let before = number.saturating_sub(1);
            let id = writer.bridge(&format!("pxb-pcie,bus_nr={before}"), "pcie.0", [device, 0]);
            writer.bridge(&format!("pcie-root-port,chassis={number}"), &id, [0, 0])
        };
        writer.bus(&bus, &id);
        // Taken, and written here instead of with the rest.
        root.functions.insert([device, 0], Some(Bus::default()));
        writer.written.push([device, 0]);
    }
    let root = root.whole();
    writer.root(&root);
    Ok(writer.arguments)
}

impl Bus {
    fn add(&mut self, hops: &[[u8; 2]], is_bridge: bool) -> Result<()> {
        let Some((first, rest)) = hops.split_first() else { return Ok(()) };
        ensure!(first[0] < 32 && first[1] < 8, "{first:x?} is no function's number");
        let function = self.functions.entry(*first).or_default();
        match (rest.is_empty(), is_bridge) {
            (true, false) => {}
            (true, true) => drop(function.get_or_insert_default()),
            (false, _) => function.get_or_insert_default().add(rest, is_bridge)?,
        }
        Ok(())
    }

    fn free_device(&self, from: u8) -> Result<u8> {
        let is_free = |device: &u8| !self.functions.keys().any(|key| key[0] == *device);
        let free = (from..0x1e).find(is_free);
        free.ok_or_else(|| anyhow::anyhow!("there is no device number left on the root bus"))
    }

    /// Adds ports until the buses have these numbers: firmware gives them out by device number.
    fn lead_to(&mut self, mut buses: BTreeMap<u8, Bus>) -> Result<()> {
        let Some(last) = buses.keys().next_back().copied() else { return Ok(()) };
        let there = self.functions.iter().filter(|(_, below)| below.is_some());
        let mut ports: Vec<[u8; 2]> = there.map(|(at, _)| *at).collect();
        let from = ports.last().map_or(3, |[device, _]| device + 1);
        let mut at = [0, 7];
        while ports.len() < usize::from(last) {
            let [device, function] = at;
            at = if function == 7 { [self.free_device(from)?, 0] } else { [device, function + 1] };
            self.functions.insert(at, Some(Self::default()));
            ports.push(at);
        }
        for (number, port) in (1..).zip(ports) {
            let below = self.functions.entry(port).or_default().get_or_insert_default();
            below.functions.extend(buses.remove(&number).unwrap_or_default().functions);
        }
        Ok(())
    }

    /// A function on the root bus and one behind a port, which a table about others leaves alone.
    fn bystanders(&mut self) -> Result<()> {
        let device = self.free_device(3)?;
        self.functions.insert([device, 0], None);
        if !self.functions.keys().any(|key| key[0] == BYSTANDER) {
            let mut behind = Bus::default();
            behind.functions.insert([0, 0], None);
            self.functions.insert([BYSTANDER, 0], Some(behind));
        }
        Ok(())
    }

    /// With a function 0 for every device, without which nobody looks for others.
    fn whole(mut self) -> Self {
        let devices: Vec<u8> = self.functions.keys().map(|key| key[0]).collect();
        for device in devices {
            self.functions.entry([device, 0]).or_default();
        }
        let below = self.functions.into_iter();
        Self { functions: below.map(|(key, bus)| (key, bus.map(Self::whole))).collect() }
    }
}

#[derive(Default)]
struct Writer {
    arguments: Vec<String>,
    buses: usize,
    written: Vec<[u8; 2]>,
}

impl Writer {
    fn device(&mut self, model: &str, more: &str, on: &str, [device, function]: [u8; 2]) {
        let at = format!("bus={on},addr={device:02x}.{function},multifunction=on");
        self.arguments.extend(["-device".to_owned(), format!("{model}{more},{at}")]);
    }

    fn bridge(&mut self, model: &str, on: &str, at: [u8; 2]) -> String {
        self.buses += 1;
        let id = format!("b{}", self.buses);
        self.device(model, &format!(",id={id}"), on, at);
        id
    }

    fn root(&mut self, bus: &Bus) {
        for (at, below) in &bus.functions {
            if FIXED.contains(at) || self.written.contains(at) {
                continue;
            }
            match below {
                None => self.device(model(*at), more(model(*at)), "pcie.0", *at),
                Some(below) if below.functions.keys().all(|key| key[0] == 0) => {
                    let number = self.buses + 1;
                    let port = format!("pcie-root-port,chassis={number},slot={number}");
                    let id = self.bridge(&port, "pcie.0", *at);
                    self.bus(below, &id);
                }
                Some(below) => {
                    let id = self.bridge("i82801b11-bridge", "pcie.0", *at);
                    self.bus(below, &id);
                }
            }
        }
    }

    /// What is below the root bus. Bridges there lead to conventional buses.
    fn bus(&mut self, bus: &Bus, on: &str) {
        for (at, below) in &bus.functions {
            match below {
                None => self.device(ORDINARY, more(ORDINARY), on, *at),
                Some(below) => {
                    let id = self.bridge("pcie-pci-bridge", on, *at);
                    self.bus(below, &id);
                }
            }
        }
    }
}

const ORDINARY: &str = "e1000e";

/// What is at an address of bus 0 in machines with such tables.
fn model(at: [u8; 2]) -> &'static str {
    match at {
        [2, 0] => "VGA",
        [2, _] => "secondary-vga",
        [0x14 | 0x0d, 0] => "qemu-xhci",
        [0x1a | 0x1d, _] => "usb-ehci",
        _ => ORDINARY,
    }
}

/// Firmware would run what is in a ROM, which takes time.
fn more(model: &str) -> &'static str {
    match model {
        "VGA" | "secondary-vga" | ORDINARY => ",romfile=",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(bus: u8, hops: &[[u8; 2]]) -> Place {
        Place { bus, hops: hops.to_vec(), is_bridge: false }
    }

    fn devices(places: &[Place]) -> Vec<String> {
        let arguments = arguments(places).expect("there is room");
        arguments.into_iter().filter(|word| word != "-device").collect()
    }

    #[test]
    fn functions_have_a_function_0_and_the_class_of_their_address() {
        let found = devices(&[place(0, &[[2, 0]]), place(0, &[[0x1d, 7]]), place(0, &[[0x1f, 2]])]);
        let expected = [
            "VGA,romfile=,bus=pcie.0,addr=02.0,multifunction=on",
            "e1000e,romfile=,bus=pcie.0,addr=03.0,multifunction=on",
            "usb-ehci,bus=pcie.0,addr=1d.0,multifunction=on",
            "usb-ehci,bus=pcie.0,addr=1d.7,multifunction=on",
            "pcie-root-port,chassis=1,slot=1,id=b1,bus=pcie.0,addr=1e.0,multifunction=on",
            "e1000e,romfile=,bus=b1,addr=00.0,multifunction=on",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_bus_has_its_number_by_the_ports_before_it() {
        let found = devices(&[place(2, &[[0, 0]])]);
        let expected = [
            "pcie-root-port,chassis=1,slot=1,id=b1,bus=pcie.0,addr=03.0,multifunction=on",
            "pcie-root-port,chassis=2,slot=2,id=b2,bus=pcie.0,addr=03.1,multifunction=on",
            "e1000e,romfile=,bus=b2,addr=00.0,multifunction=on",
        ];
        assert_eq!(found[..3], expected);
        let far = devices(&[place(0xc4, &[[0, 7]])]);
        assert_eq!(far[0], "pxb-pcie,bus_nr=195,id=b1,bus=pcie.0,addr=04.0,multifunction=on");
        assert_eq!(far[3], "e1000e,romfile=,bus=b2,addr=00.7,multifunction=on");
        // Behind a port only device 0 would be seen: bridges at others stand on the root bus itself.
        let ports = devices(&[Place { is_bridge: true, ..place(0x20, &[[3, 0]]) }]);
        assert_eq!(ports[0], "pxb-pcie,bus_nr=32,id=b1,bus=pcie.0,addr=04.0,multifunction=on");
        assert_eq!(ports[1], "pcie-pci-bridge,id=b2,bus=b1,addr=03.0,multifunction=on");
    }

    #[test]
    fn a_path_leads_over_bridges() {
        let found = devices(&[place(0, &[[0x1c, 4], [0, 2]]), place(0, &[[5, 0], [3, 0]])]);
        assert!(found.contains(&"e1000e,romfile=,bus=b2,addr=00.2,multifunction=on".to_owned()));
        assert!(found[1].starts_with("i82801b11-bridge"), "{found:?}");
        assert!(arguments(&[place(0, &[[32, 0]])]).is_err());
    }
}
