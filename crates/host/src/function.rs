//! One PCI function, as far as it was read.

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;

use crate::acs::Acs;
use crate::bar::Bar;
use crate::fact::Fact;
use crate::port::Pcie;

/// A PCI function and everything isolation turns on.
///
/// Readers fill it from registers or from text; models use nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Where it is.
    pub address: PciAddress,
    /// Who made it and what it is.
    pub identity: Identity,
    /// The layout of its header.
    pub header: Fact<Header>,
    /// Bit 7 of the header type: other functions may be in the same slot. As read, before what the
    /// siblings say.
    pub multifunction: Fact<bool>,
    /// The PCI Express capability, `Known(None)` for conventional PCI.
    pub pcie: Fact<Option<Pcie>>,
    /// The ACS extended capability, `Known(None)` when there is none.
    pub acs: Fact<Option<Acs>>,
    /// The double word at ACS capability + 8, which Intel's Sunrise Point root ports use as the
    /// control register by mistake.
    pub acs_double_word_control: Fact<u32>,
    /// Whether a base address register of it asks for memory: it can be the target of requests.
    pub memory: Fact<bool>,
    /// The base address registers that ask for memory; none of a bridge, whose own are not read.
    pub bars: Fact<Vec<Bar>>,
    /// Registers that say where memory of the function is, as they were read, by their offset in
    /// config space: those of Intel's graphics on bus 0 and of the host bridge beside it, see
    /// [`crate::graphics`]. Empty for every other function.
    pub registers: BTreeMap<u16, Fact<u32>>,
    /// The SR-IOV extended capability, `Known(None)` when there is none.
    pub virtual_functions: Fact<Option<VirtualFunctions>>,
    /// For a virtual function, the physical function it is one of.
    pub physical_function: Fact<Option<PciAddress>>,
    /// The functions above, outermost first, if the source says (sysfs path, `lspci -PP`): bridges,
    /// and the endpoint whose driver made the domain the function is in (Intel VMD). Otherwise bus
    /// numbers do.
    pub path: Fact<Vec<PciAddress>>,
    /// The driver bound to it, `Known(None)` for none.
    pub driver: Fact<Option<String>>,
    /// The number of the kernel's group, `Known(None)` when the kernel put it in none.
    pub kernel_group: Fact<Option<u32>>,
    /// Ways to reset it alone that the kernel names, best first.
    pub reset_methods: Fact<Vec<String>>,
    /// Whether firmware marked it external or untrusted.
    pub untrusted: Fact<bool>,
}

/// Who made a function and what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Vendor id.
    pub vendor: Fact<u16>,
    /// Device id.
    pub device: Fact<u16>,
    /// Subsystem vendor and device ids.
    pub subsystem: Fact<(u16, u16)>,
    /// Class code.
    pub class: Fact<Class>,
    /// Revision id.
    pub revision: Fact<u8>,
    /// What the source calls it, when the source has names.
    pub name: Option<String>,
}

/// A class code: base class, subclass and programming interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// Base class, `0x06` for a bridge.
    pub base: u8,
    /// Subclass.
    pub sub: u8,
    /// Programming interface.
    pub interface: u8,
}

/// The layout of the header, bits 6:0 of the header type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Type 0.
    Endpoint,
    /// Type 1, with the numbers of the bus below and the last bus below.
    Bridge {
        /// The bus right below.
        secondary: u8,
        /// The last bus below.
        subordinate: u8,
    },
    /// Type 2.
    CardBus {
        /// The bus right below.
        secondary: u8,
        /// The last bus below.
        subordinate: u8,
    },
    /// A type the specification does not name.
    Other(u8),
}

/// What the SR-IOV capability says of the virtual functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualFunctions {
    /// Whether they are enabled.
    pub enabled: bool,
    /// How many there are.
    pub count: u16,
    /// From the physical function's requester id to that of the first.
    pub offset: u16,
    /// From one to the next.
    pub stride: u16,
    /// Their device id.
    pub device: u16,
}

impl Function {
    /// A function of which nothing is known but where it is.
    pub fn new(address: PciAddress) -> Self {
        Self {
            address,
            identity: Identity::default(),
            header: Fact::default(),
            multifunction: Fact::default(),
            pcie: Fact::default(),
            acs: Fact::default(),
            acs_double_word_control: Fact::default(),
            memory: Fact::default(),
            bars: Fact::default(),
            registers: BTreeMap::new(),
            virtual_functions: Fact::default(),
            physical_function: Fact::default(),
            path: Fact::default(),
            driver: Fact::default(),
            kernel_group: Fact::default(),
            reset_methods: Fact::default(),
            untrusted: Fact::default(),
        }
    }

    /// The bus right below, if it is known to be a bridge.
    pub fn secondary_bus(&self) -> Option<u8> {
        match self.header {
            Fact::Known(Header::Bridge { secondary, .. } | Header::CardBus { secondary, .. }) => {
                Some(secondary)
            }
            _ => None,
        }
    }

    /// Whether it is known to be a bridge.
    pub fn is_bridge(&self) -> bool {
        self.secondary_bus().is_some()
    }
}
