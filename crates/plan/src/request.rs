//! What is asked for: a VM, its devices now and later, and what shall be done about their regions.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use ringfence_addr::{Alignment, PciAddress};

use crate::machine::{Machine, Vcpu};
use crate::viommu::Viommu;

/// A VM to be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// How much memory the guest shall be able to use, in bytes; a multiple of 4 KiB.
    pub memory: NonZeroU64,
    /// What runs it.
    pub machine: Machine,
    /// The host functions it has from the start.
    pub devices: Vec<Assigned>,
    /// Those that may be plugged later: planned for now, because memory cannot move then.
    pub later: Vec<Assigned>,
    /// Memory that may be plugged later.
    pub hotplug: Hotplug,
    /// How many bits the guest's addresses have, if that is given.
    pub address_bits: Option<u8>,
    /// Whose processor the guest believes to have; the host's, if nothing is said.
    pub vcpu: Option<Vcpu>,
    /// The host's kernel gives away devices with regions it calls `direct` (it was changed to).
    pub direct_allowed: bool,
    /// Regions shared with devices outside this VM are acceptable.
    pub shared_allowed: bool,
    /// The IOMMU that the guest sees, if it sees one.
    pub viommu: Option<Viommu>,
    /// Windows that lie in the guest's own memory.
    pub windows: Vec<WindowWish>,
}

/// A host function that is given to a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Which.
    pub address: PciAddress,
    /// What shall be done about its regions; [`Policy::Hole`], if nothing is said.
    pub policy: Option<Policy>,
    /// Where the guest finds it, if that is known.
    pub guest: Option<PciAddress>,
}

/// A window for a backend in the guest's own memory: all that one device of the guest's may reach,
/// through which the guest copies what goes there and what comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowWish {
    /// Whose it is, for people.
    pub name: String,
    /// How large, in bytes.
    pub bytes: NonZeroU64,
    /// Where the guest finds the device.
    pub guest: PciAddress,
}

/// Memory that may be plugged later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hotplug {
    /// How much, in bytes.
    pub bytes: u64,
    /// In how many pieces at most.
    pub slots: u16,
}

/// What is done about a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// No memory there, and nothing else of the guest's: requests to it fault.
    Hole,
    /// Memory of the VM's lies there, and the guest is told to keep off.
    Reserve,
    /// Memory of the VM's lies there for the device to use: bus address, guest address and what the
    /// device's registers say are the same number.
    Identity,
    /// The device's own memory is somewhere else for the guest, and the VMM shows it registers that
    /// say so; the host's numbers stay a hole.
    Relocate,
    /// As [`Policy::Identity`], by a piece of memory laid over the guest's.
    Overlay,
    /// Accesses there end in the VMM.
    Trapped,
    /// The guest is told that the device has no memory of its own; the host's numbers stay a hole.
    None,
    /// The VM is refused.
    Refuse,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Hole,
        Self::Reserve,
        Self::Identity,
        Self::Relocate,
        Self::Overlay,
        Self::Trapped,
        Self::None,
        Self::Refuse,
    ];

    /// Its name in a VM's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hole => "hole",
            Self::Reserve => "reserve",
            Self::Identity => "identity",
            Self::Relocate => "relocate",
            Self::Overlay => "overlay",
            Self::Trapped => "trapped",
            Self::None => "none",
            Self::Refuse => "refuse",
        }
    }

    /// Whether memory of the VM's must lie there.
    pub(crate) fn needs_memory(self) -> bool {
        matches!(self, Self::Identity | Self::Overlay)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A text that names no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsePolicyError(String);

impl fmt::Display for ParsePolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Policy::ALL.map(Policy::name).join(", ");
        write!(formatter, "{:?} is no policy; there are {names}", self.0)
    }
}

impl std::error::Error for ParsePolicyError {}

impl FromStr for Policy {
    type Err = ParsePolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePolicyError(text.chars().take(48).collect());
        Self::ALL.into_iter().find(|policy| policy.name() == text).ok_or_else(error)
    }
}

impl Request {
    /// A VM with this much memory, rounded up to whole pages, and nothing else said.
    pub fn new(memory: NonZeroU64, machine: Machine) -> Self {
        let page = Alignment::PAGE_4K.bytes();
        let memory = memory.get().checked_next_multiple_of(page).and_then(NonZeroU64::new);
        Self {
            memory: memory.unwrap_or(NonZeroU64::MAX),
            machine,
            devices: Vec::new(),
            later: Vec::new(),
            hotplug: Hotplug::default(),
            address_bits: None,
            vcpu: None,
            direct_allowed: false,
            shared_allowed: false,
            viommu: None,
            windows: Vec::new(),
        }
    }

    /// Every function it has or may get, and whether it has it from the start.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Assigned, bool)> {
        let now = self.devices.iter().map(|device| (device, true));
        now.chain(self.later.iter().map(|device| (device, false)))
    }
}
