//! Whether a function isolates whatever its ACS registers say: Linux's table, row by row.

use crate::acs::AcsBits;
use crate::fact::Fact;
use crate::host::Host;
use crate::port::PortType;
use crate::quirks::acs_table::{INTEL_PCH_PORTS, ROWS, Row};
use crate::quirks::ids;
use crate::topology::{Node, Topology};

/// How Linux tests the devices of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// The vendor says that functions of the device do not reach each other.
    FunctionsApart,
    /// The vendor says that the port keeps requests from turning around.
    PortApart,
    /// An AMD southbridge, on the root bus of a machine with an AMD IOMMU.
    AmdSouthbridge,
    /// An Intel endpoint of the root complex: VT-d requires that it translates.
    RootComplexEndpoint,
    /// An Intel root port that the chipset is told to isolate.
    IntelPch,
    /// An Intel root port whose ACS control is a double word, where another register should be.
    SunrisePoint,
    /// A root port of Cavium ThunderX.
    Cavium,
    /// A root port of Amazon's Annapurna Labs.
    Annapurna,
    /// Ports of Zhaoxin: those named isolate, all others are held not to.
    ZhaoxinPort,
    /// Network functions of Wangxun: those named isolate, all others are held not to.
    WangxunNic,
}

/// What a row makes of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) row: &'static Row,
    pub(crate) isolates: bool,
    /// For Sunrise Point, the register that decided it, if it was read.
    pub(crate) control: Option<u32>,
    /// For Sunrise Point, the bits that should be set and are not.
    pub(crate) missing: AcsBits,
}

/// What the first row with an opinion says of a function.
pub(crate) fn answer(topology: &Topology<'_>, index: usize) -> Option<Answer> {
    let node = &topology.nodes[index];
    let (vendor, device) = ids(&node.function);
    let vendor = vendor?;
    ROWS.iter()
        .filter(|row| row.vendor == vendor)
        .filter(|row| {
            row.devices.is_empty() || device.is_some_and(|device| row.devices.contains(&device))
        })
        .find_map(|row| row.answer(topology, node, device))
}

impl Row {
    /// Whether it is about root ports whose control register is elsewhere.
    pub(crate) fn is_sunrise_point(&self) -> bool {
        self.test == Test::SunrisePoint
    }

    fn answer(
        &'static self,
        topology: &Topology<'_>,
        node: &Node<'_>,
        device: Option<u16>,
    ) -> Option<Answer> {
        let port = node.port.known().copied().flatten();
        let isolates = match self.test {
            Test::FunctionsApart | Test::PortApart => true,
            Test::AmdSouthbridge => {
                let is_on_root = topology.buses[node.bus].parent.is_none();
                let has_amd =
                    || topology.has_amd_iommu.get_or_init(|| has_amd_iommu(topology.host));
                (node.multifunction && is_on_root && *has_amd()).then_some(true)?
            }
            Test::RootComplexEndpoint => {
                (port == Some(PortType::RootComplexEndpoint)).then_some(true)?
            }
            // Whether the chipset did as told is in registers no capture has; Linux reports when
            // it did not, which no machine known here has.
            Test::IntelPch => {
                let device = device.filter(|_| port == Some(PortType::RootPort))?;
                INTEL_PCH_PORTS.contains(&device).then_some(true)?
            }
            Test::SunrisePoint => return self.sunrise_point(node, device),
            Test::Cavium => {
                let device = device.filter(|_| port == Some(PortType::RootPort))?;
                matches!(device, 0xa000..=0xa7ff | 0xaf84 | 0xb884).then_some(true)?
            }
            Test::Annapurna => (port == Some(PortType::RootPort)).then_some(true)?,
            Test::ZhaoxinPort => {
                port.filter(|port| port.is_downstream())?;
                matches!(device?, 0x0710..=0x071e | 0x0721 | 0x0723..=0x0752)
            }
            Test::WangxunNic => matches!(
                device?,
                0x0100
                    ..=0x010f
                        | 0x1001
                        | 0x2001
                        | 0x5010
                        | 0x5025
                        | 0x5040
                        | 0x5110
                        | 0x5125
                        | 0x5140
            ),
        };
        Some(Answer { row: self, isolates, control: None, missing: AcsBits::empty() })
    }

    fn sunrise_point(&'static self, node: &Node<'_>, device: Option<u16>) -> Option<Answer> {
        let device = device.filter(|_| node.port == Fact::Known(Some(PortType::RootPort)))?;
        let is_one = matches!(
            device,
            0xa110..=0xa11f | 0xa167..=0xa16a | 0xa290..=0xa29f | 0xa2e7..=0xa2ee
                | 0x9d10..=0x9d1b
        );
        let acs = node.function.acs.known().copied().flatten().filter(|_| is_one)?;
        let control = node.function.acs_double_word_control.known().copied();
        let capability = acs.capability.known().copied().unwrap_or(AcsBits::REQUIRED);
        let missing = match control {
            Some(control) => {
                let [low, high, ..] = control.to_le_bytes();
                let set = AcsBits::from_bits_retain(u16::from_le_bytes([low, high]));
                (AcsBits::REQUIRED & capability) - set
            }
            None => AcsBits::empty(),
        };
        Some(Answer { row: self, isolates: missing.is_empty(), control, missing })
    }
}

/// Whether firmware describes an AMD IOMMU, or the source shows one in use.
fn has_amd_iommu(host: &Host) -> bool {
    if let Fact::Known(tables) = &host.tables {
        return tables.iter().any(|table| table == "IVRS");
    }
    let in_use = host
        .iommus
        .known()
        .is_some_and(|iommus| iommus.iter().any(|iommu| iommu.name.starts_with("ivhd")));
    let grouped = || {
        let mut functions = host.functions.values();
        functions.any(|function| matches!(function.kernel_group, Fact::Known(Some(_))))
    };
    in_use || (grouped() && host.functions.values().any(is_amd_iommu))
}

fn is_amd_iommu(function: &crate::function::Function) -> bool {
    let is_iommu = function
        .identity
        .class
        .known()
        .is_some_and(|class| class.base == 0x08 && class.sub == 0x06);
    is_iommu && matches!(ids(function).0, Some(0x1022 | 0x1002))
}
