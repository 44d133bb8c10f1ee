//! A plan: a use and a reason for every span of the guest's memory map.

use std::fmt;

use ringfence_addr::{Gpa, PciAddress, Span};
use ringfence_host::RegionKind;

use crate::case::Case;
use crate::machine::Machine;
use crate::request::Policy;
use crate::viommu::GuestIommu;

/// The guest's memory map and what its VMM must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For whom it is.
    pub machine: Machine,
    /// What lies where, lowest first, without overlaps. What is not named is nothing.
    pub map: Vec<Entry>,
    /// What became of each region of the host's that concerns the VM.
    pub settlements: Vec<Settlement>,
    /// What it cannot rule out.
    pub risks: Vec<Risk>,
    /// What the VMM must be told.
    pub settings: Settings,
    /// What the guest's own IOMMU must be told, if it sees one.
    pub viommu: Option<GuestIommu>,
    /// Where the guest finds the host's functions, as far as that is known, in the order of the
    /// guest's addresses.
    pub functions: Vec<GuestFunction>,
    /// Windows in the guest's memory, which are RAM in the map.
    pub windows: Vec<PlacedWindow>,
}

/// A function of the host's, and where the guest finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestFunction {
    /// Its address in the guest.
    pub guest: PciAddress,
    /// Its address on the host.
    pub host: PciAddress,
}

/// A window for a backend, in the guest's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedWindow {
    /// Whose it is, for people.
    pub name: String,
    /// Where.
    pub span: Span<Gpa>,
    /// Where the guest finds the device that reaches it and nothing else.
    pub guest: PciAddress,
}

/// One span of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub span: Span<Gpa>,
    /// What for.
    pub usage: Use,
    /// Memory of the VM's lies there, mapped for its devices at the same number.
    pub backed: bool,
    /// Why.
    pub reason: String,
}

/// What a span of guest-physical space is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// Memory of the guest's.
    Ram,
    /// Kept off: the guest is told not to use it.
    Reserved,
    /// Nothing, and nothing may ever be put there.
    Hole,
    /// Memory of the VM's for a device, at the host's own address.
    Identity,
    /// Fixed by the machine.
    Platform,
    /// Where base addresses of PCI functions are put.
    Window,
    /// Where memory may be plugged.
    Hotplug,
}

impl Use {
    /// Its name in JSON and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ram => "ram",
            Self::Reserved => "reserved",
            Self::Hole => "hole",
            Self::Identity => "identity",
            Self::Platform => "platform",
            Self::Window => "window",
            Self::Hotplug => "hotplug",
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What became of a region, or of several on one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Where, to whole pages outward.
    pub span: Span<Gpa>,
    /// The strongest kind there.
    pub kind: RegionKind,
    /// The cases it is one of.
    pub cases: Vec<Case>,
    /// What was to be done.
    pub policy: Policy,
    /// Somebody asked for that.
    pub asked: bool,
    /// What is there now.
    pub becomes: Use,
    /// Why, and of what it was made.
    pub reason: String,
}

/// What a plan cannot rule out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Risk {
    /// In which case.
    pub case: Case,
    /// What may happen.
    pub text: String,
}

/// What a VMM must be told for the map to come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much memory it gives the VM, in bytes: what the guest may use and what it must keep off.
    pub memory_bytes: u64,
    /// Where memory below 4 GiB ends, in bytes from 0, if that is not the machine's own choice.
    pub low_bytes: Option<u64>,
    /// Where memory above 4 GiB begins.
    pub high_first: Gpa,
    /// How many bits guest addresses may have.
    pub address_bits: u8,
    /// The guest must believe to have a processor of AMD's, or memory lies in HyperTransport's hole.
    pub amd_vcpu: bool,
    /// What the guest must be told to keep off: memory beneath or not.
    pub keep_off: Vec<Span<Gpa>>,
    /// Pieces of memory of their own, beside low and high memory.
    pub own_blocks: Vec<Span<Gpa>>,
    /// How much memory of its own a graphics device is shown to have, in bytes, where that is not the
    /// host's choice: 0 for none.
    pub stolen_bytes: Option<u64>,
    /// Memory that may be plugged, in bytes.
    pub hotplug_bytes: u64,
    /// In how many pieces at most.
    pub hotplug_slots: u16,
}
