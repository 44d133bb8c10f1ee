//! What a function is on PCI Express.

use std::fmt;

/// A function's PCI Express capability.
///
/// PCI Express Base 6.0, section 7.5.3 ("PCI Express Capability Structure").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pcie {
    /// Where the capability is in config space; 0 when the source does not say.
    pub offset: u16,
    /// The device/port type it states.
    pub port: PortType,
}

/// Device/port type, bits 7:4 of the PCI Express capabilities register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortType {
    /// A PCI Express endpoint.
    Endpoint,
    /// A legacy PCI Express endpoint.
    LegacyEndpoint,
    /// A root port of a root complex.
    RootPort,
    /// The upstream port of a switch.
    UpstreamPort,
    /// A downstream port of a switch.
    DownstreamPort,
    /// A bridge from PCI Express to conventional PCI.
    PcieToPciBridge,
    /// A bridge from conventional PCI to PCI Express.
    PciToPcieBridge,
    /// An endpoint integrated in the root complex.
    RootComplexEndpoint,
    /// A root complex event collector.
    EventCollector,
    /// A number the specification does not name.
    Reserved(u8),
}

impl PortType {
    /// The type of this four-bit number.
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Endpoint,
            1 => Self::LegacyEndpoint,
            4 => Self::RootPort,
            5 => Self::UpstreamPort,
            6 => Self::DownstreamPort,
            7 => Self::PcieToPciBridge,
            8 => Self::PciToPcieBridge,
            9 => Self::RootComplexEndpoint,
            10 => Self::EventCollector,
            other => Self::Reserved(other),
        }
    }

    /// Root port or downstream port of a switch: has links below it.
    pub fn is_downstream(self) -> bool {
        matches!(self, Self::RootPort | Self::DownstreamPort)
    }
}

impl fmt::Display for PortType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint => formatter.write_str("endpoint"),
            Self::LegacyEndpoint => formatter.write_str("legacy endpoint"),
            Self::RootPort => formatter.write_str("root port"),
            Self::UpstreamPort => formatter.write_str("switch upstream port"),
            Self::DownstreamPort => formatter.write_str("switch downstream port"),
            Self::PcieToPciBridge => formatter.write_str("PCIe-to-PCI bridge"),
            Self::PciToPcieBridge => formatter.write_str("PCI-to-PCIe bridge"),
            Self::RootComplexEndpoint => formatter.write_str("root complex endpoint"),
            Self::EventCollector => formatter.write_str("root complex event collector"),
            Self::Reserved(number) => write!(formatter, "port type {number}, which is reserved"),
        }
    }
}
