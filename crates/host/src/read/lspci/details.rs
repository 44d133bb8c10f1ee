//! The lines below the one that begins a function.

use crate::acs::{Acs, AcsBits};
use crate::bar::Bar;
use crate::fact::{Fact, Unknown};
use crate::function::{Function, Header, VirtualFunctions};
use crate::port::{Pcie, PortType};
use crate::read::base_addresses;

use super::head::subsystem;

/// What the lines said, as far as isolation turns on it.
#[derive(Default)]
pub(super) struct Details<'a> {
    /// Anything at all was printed, so what was not is not there.
    shown: bool,
    /// The chain of capabilities could not be read, and why.
    hidden: Option<Unknown>,
    /// The function did not answer.
    silent: bool,
    buses: Option<(u8, u8)>,
    express: Option<Pcie>,
    acs: Option<Acs>,
    functions: Option<Claimed>,
    memory: bool,
    bars: Vec<Bar>,
    group: Option<u32>,
    driver: Option<&'a str>,
    subsystem: Option<(u16, u16)>,
}

/// SR-IOV, whose values come line by line.
#[derive(Default)]
struct Claimed {
    enabled: Option<bool>,
    count: Option<u16>,
    offset: Option<u16>,
    stride: Option<u16>,
    device: Option<u16>,
}

impl<'a> Details<'a> {
    /// Takes one line.
    pub(super) fn take(&mut self, line: &'a str) {
        let line = line.trim_start();
        let (word, rest) =
            line.split_once(": ").or_else(|| line.split_once(":\t")).unwrap_or((line, ""));
        let rest = rest.trim_start();
        match word {
            "Control" | "Flags" | "Status" => {
                self.shown = true;
                if let Some((_, group)) = rest.split_once("IOMMU group ") {
                    self.group = leading(group);
                }
            }
            "IOMMU group" => self.group = leading(rest),
            "Bus" => self.buses = buses(rest),
            "Capabilities" => self.take_capability(rest),
            "ACSCap" => self.set_acs(|acs, bits| acs.capability = Fact::Known(bits), rest),
            "ACSCtl" => self.set_acs(|acs, bits| acs.control = Fact::Known(bits), rest),
            "IOVCtl" => self.claim(|it| it.enabled = Some(rest.starts_with("Enable+"))),
            "Initial VFs" => self.claim(|it| it.count = after(rest, "Number of VFs: ", 10)),
            "VF offset" => self.claim(|it| {
                it.offset = leading(rest);
                it.stride = after(rest, "stride: ", 10);
                it.device = after(rest, "Device ID: ", 16);
            }),
            "Kernel driver in use" => self.driver = Some(rest),
            "Subsystem" => self.subsystem = subsystem(rest),
            _ if line.starts_with("!!! Unknown header type 7f") => self.silent = true,
            _ if word.starts_with("Region ") => {
                self.memory |= is_memory(rest);
                let index = word.strip_prefix("Region ").and_then(|index| index.parse().ok());
                let bar = index.and_then(|index| base_addresses::by_words(index, rest));
                // There are six, and a made-up listing may have a million.
                self.bars
                    .extend(bar.filter(|bar| self.bars.iter().all(|it| it.index != bar.index)));
            }
            _ => self.memory |= line.starts_with("Memory at "),
        }
    }

    /// `[148 v1] Access Control Services`.
    fn take_capability(&mut self, text: &str) {
        if text.starts_with('<') {
            let is_denied = text.starts_with("<access denied>");
            self.hidden = Some(if is_denied { Unknown::NeedsRoot } else { Unknown::Garbled });
            return;
        }
        let Some((place, name)) = text.strip_prefix('[').and_then(|it| it.split_once("] ")) else {
            return;
        };
        let digits = place.split(' ').next().unwrap_or_default();
        let offset = u16::from_str_radix(digits, 16).unwrap_or_default();
        if let Some(express) = name.strip_prefix("Express ") {
            self.express = self.express.or(Some(Pcie { offset, port: port(express) }));
        } else if name.starts_with("Access Control Services") {
            let acs = Acs { offset, capability: Fact::default(), control: Fact::default() };
            self.acs = self.acs.or(Some(acs));
        } else if name.starts_with("Single Root I/O Virtualization") {
            self.functions.get_or_insert_default();
        } else if let Some(ids) = name.strip_prefix("Subsystem: ") {
            self.subsystem = self.subsystem.or_else(|| subsystem(ids));
        } else if name.starts_with("<chain") {
            self.hidden = Some(Unknown::Garbled);
        }
    }

    fn set_acs(&mut self, set: impl FnOnce(&mut Acs, AcsBits), text: &str) {
        if let Some(acs) = &mut self.acs {
            set(acs, acs_bits(text));
        }
    }

    fn claim(&mut self, set: impl FnOnce(&mut Claimed)) {
        if let Some(claimed) = &mut self.functions {
            set(claimed);
        }
    }

    /// Sets what the lines said.
    pub(super) fn describe(&self, function: &mut Function) {
        function.kernel_group = self.group.map_or_else(Fact::default, |it| Fact::Known(Some(it)));
        function.driver =
            self.driver.map_or_else(Fact::default, |it| Fact::Known(Some(it.to_owned())));
        function.identity.subsystem = self.subsystem.map_or_else(Fact::default, Fact::Known);
        if self.silent {
            function.header = Fact::Unknown(Unknown::NoAnswer);
            function.multifunction = Fact::Unknown(Unknown::NoAnswer);
            // The kernel still knows what it gave the function.
            function.memory =
                if self.memory { Fact::Known(true) } else { Fact::Unknown(Unknown::NoAnswer) };
            function.pcie = Fact::Unknown(Unknown::NoAnswer);
            function.acs = Fact::Unknown(Unknown::NoAnswer);
            function.virtual_functions = Fact::Unknown(Unknown::NoAnswer);
        } else if self.shown {
            self.describe_registers(function);
        }
    }

    fn describe_registers(&self, function: &mut Function) {
        let is_cardbus = function
            .identity
            .class
            .known()
            .is_some_and(|class| (class.base, class.sub) == (0x06, 0x07));
        function.header = Fact::Known(match self.buses {
            None => Header::Endpoint,
            Some((secondary, subordinate)) if is_cardbus => {
                Header::CardBus { secondary, subordinate }
            }
            Some((secondary, subordinate)) => Header::Bridge { secondary, subordinate },
        });
        function.memory = Fact::Known(self.memory);
        // Without "Region 0:" the lines do not say which is which.
        let is_bridge = self.buses.is_some();
        if is_bridge || !self.memory {
            function.bars = Fact::Known(Vec::new());
        } else if !self.bars.is_empty() {
            function.bars = Fact::Known(self.bars.clone());
        }

        function.pcie = match (self.express, self.hidden) {
            (None, Some(why)) => Fact::Unknown(why),
            (express, _) => Fact::Known(express),
        };
        function.acs = match (self.acs, self.hidden) {
            (None, Some(why)) => Fact::Unknown(why),
            (acs, _) => Fact::Known(acs),
        };
        function.virtual_functions = match (&self.functions, self.hidden) {
            (Some(claimed), _) => {
                claimed.whole().map_or_else(Fact::default, |it| Fact::Known(Some(it)))
            }
            (None, Some(why)) => Fact::Unknown(why),
            (None, None) => Fact::Known(None),
        };
    }
}

impl Claimed {
    fn whole(&self) -> Option<VirtualFunctions> {
        Some(VirtualFunctions {
            enabled: self.enabled?,
            count: self.count?,
            offset: self.offset?,
            stride: self.stride?,
            device: self.device?,
        })
    }
}

/// `primary=00, secondary=01, subordinate=03, sec-latency=0`.
fn buses(text: &str) -> Option<(u8, u8)> {
    let number = |name| {
        let (_, rest) = text.split_once(name)?;
        u8::from_str_radix(rest.get(..2)?, 16).ok()
    };
    Some((number("secondary=")?, number("subordinate=")?))
}

/// `(v2) Root Port (Slot+), MSI 00`.
fn port(text: &str) -> PortType {
    let text = text.strip_prefix('(').and_then(|it| it.split_once(") ")).map_or(text, |it| it.1);
    // Some begin with what another is: the longer come first.
    const NAMES: &[(&str, PortType)] = &[
        ("Endpoint", PortType::Endpoint),
        ("Legacy Endpoint", PortType::LegacyEndpoint),
        ("Root Port", PortType::RootPort),
        ("Upstream Port", PortType::UpstreamPort),
        ("Downstream Port", PortType::DownstreamPort),
        ("PCI-Express to PCI/PCI-X Bridge", PortType::PcieToPciBridge),
        ("PCI/PCI-X to PCI-Express Bridge", PortType::PciToPcieBridge),
        ("PCI/PCI-X Bridge", PortType::PcieToPciBridge),
        ("PCI-X Bridge", PortType::PcieToPciBridge),
        ("Root Complex Integrated Endpoint", PortType::RootComplexEndpoint),
        ("Root Complex Event Collector", PortType::EventCollector),
    ];
    let found = NAMES.iter().find(|(name, _)| text.starts_with(name));
    found.map_or_else(
        || {
            let number = text.strip_prefix("Unknown type ").and_then(leading::<u8>);
            number.map_or(PortType::Reserved(u8::MAX), PortType::from_number)
        },
        |(_, port)| *port,
    )
}

/// `SrcValid+ TransBlk- ReqRedir+ …`.
fn acs_bits(text: &str) -> AcsBits {
    let of = |word: &str| match word.strip_suffix('+')? {
        "SrcValid" => Some(AcsBits::SOURCE_VALIDATION),
        "TransBlk" => Some(AcsBits::TRANSLATION_BLOCKING),
        "ReqRedir" => Some(AcsBits::REQUEST_REDIRECT),
        "CmpltRedir" => Some(AcsBits::COMPLETION_REDIRECT),
        "UpstreamFwd" => Some(AcsBits::UPSTREAM_FORWARDING),
        "EgressCtrl" => Some(AcsBits::EGRESS_CONTROL),
        "DirectTrans" => Some(AcsBits::DIRECT_TRANSLATED),
        _ => None,
    };
    text.split_ascii_whitespace().filter_map(of).collect()
}

fn is_memory(text: &str) -> bool {
    text.starts_with("Memory at ")
}

/// The decimal number a text begins with.
fn leading<T: std::str::FromStr>(text: &str) -> Option<T> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

/// The number behind `name`.
fn after(text: &str, name: &str, radix: u32) -> Option<u16> {
    let (_, rest) = text.split_once(name)?;
    let end = rest.find(|character: char| !character.is_digit(radix)).unwrap_or(rest.len());
    u16::from_str_radix(rest.get(..end)?, radix).ok()
}
