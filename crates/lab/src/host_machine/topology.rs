//! A host's PCI tree, told in few words and turned into arguments for QEMU.
//!
//! Slots of the root bus are given out from `00:02.0` upwards, in the order of the parts, so that a
//! test knows where its root ports are; `00:01.0` is left to a virtio IOMMU. What is below gets its
//! bus numbers from the firmware, depth first.

/// A piece of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A device by QEMU's name for it and its options: `e1000e`, `nvme,serial=1`.
    Function(&'static str),
    /// Several functions of one device; those that are ports may have something below.
    Device(Vec<Part>),
    /// A root port with ACS.
    RootPort(Vec<Part>),
    /// A root port without ACS.
    RootPortWithoutAcs(Vec<Part>),
    /// A switch, whose ports have no ACS; each part is below a downstream port of its own.
    Switch(Vec<Part>),
    /// A bridge to a conventional bus, and what is on it.
    PcieToPciBridge(Vec<Part>),
    /// Another root bus with this number.
    RootBus(u8, Vec<Part>),
}

/// The PCI tree of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    parts: Vec<Part>,
}

impl Topology {
    /// These parts on the root bus.
    pub fn new(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    /// The same with more parts behind.
    #[must_use]
    pub fn and(mut self, parts: Vec<Part>) -> Self {
        self.parts.extend(parts);
        self
    }

    /// QEMU's arguments for it.
    pub fn arguments(&self) -> Vec<String> {
        let mut writer = Writer::default();
        for (index, part) in self.parts.iter().enumerate() {
            writer.part(part, "pcie.0", &slot(index + 2), "");
        }
        writer.arguments
    }
}

fn slot(number: usize) -> String {
    format!("{number:02x}.0")
}

#[derive(Default)]
struct Writer {
    arguments: Vec<String>,
    buses: usize,
}

impl Writer {
    fn device(&mut self, device: String) {
        self.arguments.extend(["-device".to_owned(), device]);
    }

    /// A bridge of QEMU's, and the name of the bus below.
    fn bridge(&mut self, model: &str, on: &str, address: &str, more: &str) -> String {
        self.buses += 1;
        let (number, id) = (self.buses, format!("b{}", self.buses));
        // Every port has a slot of its own as hot-plug sees it.
        let slot = match model {
            "x3130-upstream" | "pcie-pci-bridge" => String::new(),
            _ => format!(",chassis={number},slot={number}"),
        };
        self.device(format!("{model},id={id},bus={on},addr={address}{slot}{more}"));
        id
    }

    fn part(&mut self, part: &Part, on: &str, address: &str, more: &str) {
        match part {
            Part::Function(model) => {
                self.device(format!("{model},bus={on},addr={address}{more}"));
            }
            Part::Device(functions) => {
                let device = address.trim_end_matches(".0");
                for (number, function) in functions.iter().enumerate() {
                    self.part(function, on, &format!("{device}.{number}"), ",multifunction=on");
                }
            }
            Part::RootPort(below) => self.port("pcie-root-port", below, on, address, more),
            Part::RootPortWithoutAcs(below) => self.port("ioh3420", below, on, address, more),
            Part::Switch(below) => {
                let bus = self.bridge("x3130-upstream", on, address, more);
                for (index, part) in below.iter().enumerate() {
                    let port = slot(index);
                    self.port("xio3130-downstream", std::slice::from_ref(part), &bus, &port, "");
                }
            }
            Part::PcieToPciBridge(below) => {
                let bus = self.bridge("pcie-pci-bridge", on, address, more);
                for (index, part) in below.iter().enumerate() {
                    // Slot 0 of such a bus is its hot-plug controller's.
                    self.part(part, &bus, &slot(index + 1), "");
                }
            }
            Part::RootBus(number, below) => {
                self.buses += 1;
                let id = format!("b{}", self.buses);
                self.device(format!("pxb-pcie,id={id},bus=pcie.0,addr={address},bus_nr={number}"));
                for (index, part) in below.iter().enumerate() {
                    self.part(part, &id, &slot(index), "");
                }
            }
        }
    }

    fn port(&mut self, model: &str, below: &[Part], on: &str, address: &str, more: &str) {
        let bus = self.bridge(model, on, address, more);
        for (index, part) in below.iter().enumerate() {
            self.part(part, &bus, &slot(index), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_becomes_devices_on_each_others_buses() {
        let topology = Topology::new(vec![
            Part::RootPort(vec![Part::Function("e1000e")]),
            Part::RootPortWithoutAcs(vec![Part::Switch(vec![Part::Function("nvme,serial=1")])]),
        ])
        .and(vec![Part::Device(vec![Part::Function("e1000e"), Part::RootPort(vec![])])]);
        let devices: Vec<String> =
            topology.arguments().into_iter().filter(|word| word != "-device").collect();
        assert_eq!(
            devices,
            [
                "pcie-root-port,id=b1,bus=pcie.0,addr=02.0,chassis=1,slot=1",
                "e1000e,bus=b1,addr=00.0",
                "ioh3420,id=b2,bus=pcie.0,addr=03.0,chassis=2,slot=2",
                "x3130-upstream,id=b3,bus=b2,addr=00.0",
                "xio3130-downstream,id=b4,bus=b3,addr=00.0,chassis=4,slot=4",
                "nvme,serial=1,bus=b4,addr=00.0",
                "e1000e,bus=pcie.0,addr=04.0,multifunction=on",
                "pcie-root-port,id=b5,bus=pcie.0,addr=04.1,chassis=5,slot=5,multifunction=on",
            ]
        );
    }
}
