//! What each VMM can express of a memory map.
//!
//! Facts from QEMU 10.0.13 and 11.1.3 (`hw/i386/pc_q35.c`, `pc_piix.c`, `pc.c`) and Cloud Hypervisor
//! ae44c2971c83 (`arch/src/x86_64/layout.rs`).

use std::fmt;
use std::str::FromStr;

use ringfence_addr::{Alignment, Gpa, Span};

use crate::request::Hotplug;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Where memory above the hole below 4 GiB begins.
pub(crate) const HIGH_FIRST: u64 = 4 * GIB;
/// Where QEMU puts it instead, to keep HyperTransport's hole.
pub(crate) const HIGH_FIRST_MOVED: u64 = 1 << 40;
/// The first address of HyperTransport's hole, which ends at 1 TiB.
pub(crate) const HYPERTRANSPORT_FIRST: u64 = 0xfd_0000_0000;

/// What firmware and the kernel keep for themselves of every PC.
pub(crate) const LEGACY_END: u64 = MIB;

/// Cloud Hypervisor plugs memory at multiples of 128 MiB (`MemoryManager::start_addr`).
const PLUG_CLOUD_HYPERVISOR: Alignment = match Alignment::new(128 * MIB) {
    Some(alignment) => alignment,
    None => Alignment::PAGE_1G,
};

/// The least low memory a plan leaves: below, kernel and initrd have no room.
pub(crate) const LOW_LEAST: u64 = 64 * MIB;

/// A VMM and its machine type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// QEMU's `q35`.
    Q35,
    /// QEMU's `pc`.
    I440fx,
    /// Cloud Hypervisor.
    CloudHypervisor,
    /// A VMM built on a library that places every piece of memory where it is told.
    Library,
}

/// Whose processor the guest believes to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vcpu {
    /// Intel's.
    Intel,
    /// AMD's: QEMU keeps HyperTransport's hole only then.
    Amd,
}

impl Machine {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Q35, Self::I440fx, Self::CloudHypervisor, Self::Library];

    /// Its name in a VM's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q35 => "q35",
            Self::I440fx => "i440fx",
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Library => "library",
        }
    }

    /// How many bytes of `memory` lie below 4 GiB, where no more than `at_most` shall
    /// (`max-ram-below-4g`).
    pub(crate) fn low_bytes(self, memory: u64, at_most: u64) -> u64 {
        let default = match self {
            Self::Q35 if memory >= 0xb000_0000 => 0x8000_0000,
            Self::Q35 => 0xb000_0000,
            // What is above 3 GiB is given up as soon as memory is split at all.
            Self::I440fx if memory >= at_most.min(0xe000_0000) => 0xc000_0000,
            Self::I440fx => 0xe000_0000,
            Self::CloudHypervisor | Self::Library => 3 * GIB,
        };
        memory.min(default).min(at_most)
    }

    /// Where low memory can end if no more than `at_most` shall lie below 4 GiB, each with the least
    /// memory for which it ends there. Of less than that end, all is low.
    pub(crate) fn low_ends(self, at_most: u64) -> [(u64, u64); 2] {
        match self {
            Self::Q35 => [(at_most.min(0xb000_0000), 0), (at_most.min(0x8000_0000), 0xb000_0000)],
            Self::I440fx => {
                let whole = at_most.min(0xe000_0000);
                [(whole, 0), (whole.min(0xc000_0000), whole)]
            }
            Self::CloudHypervisor | Self::Library => [(at_most.min(3 * GIB), 0); 2],
        }
    }

    /// Where low memory ends if there is much more.
    pub(crate) fn split_end(self) -> u64 {
        match self {
            Self::Q35 => 0x8000_0000,
            Self::I440fx | Self::CloudHypervisor | Self::Library => 3 * GIB,
        }
    }

    /// Whether this is QEMU, which refuses to start where what it counts as used cannot be addressed.
    pub(crate) fn is_qemu(self) -> bool {
        matches!(self, Self::Q35 | Self::I440fx)
    }

    /// Where memory is plugged, above the rest: at a multiple of this.
    pub(crate) fn plug_alignment(self) -> Alignment {
        match self {
            Self::CloudHypervisor => PLUG_CLOUD_HYPERVISOR,
            Self::Q35 | Self::I440fx | Self::Library => Alignment::PAGE_1G,
        }
    }

    /// How much room is kept for memory to be plugged.
    pub(crate) fn plug_bytes(self, hotplug: Hotplug) -> Option<u64> {
        // QEMU keeps 1 GiB more for each piece, to align it.
        let each = if self == Self::CloudHypervisor { 0 } else { GIB };
        let slots = u64::from(hotplug.slots).checked_mul(each)?;
        if hotplug.bytes == 0 { Some(0) } else { hotplug.bytes.checked_add(slots) }
    }

    /// Whether the end of low memory can be set lower than by default.
    pub(crate) fn lowers(self) -> bool {
        matches!(self, Self::Q35 | Self::I440fx)
    }

    /// Whether memory can be split anywhere.
    pub(crate) fn splits(self) -> bool {
        self == Self::Library
    }

    /// Whether memory above 4 GiB begins at 1 TiB when it would reach HyperTransport's hole.
    pub(crate) fn keeps_hypertransport(self, vcpu: Vcpu) -> bool {
        matches!(self, Self::Q35 | Self::I440fx) && vcpu == Vcpu::Amd
    }

    /// Whether it can carry out this policy by itself, beyond holes and memory told to be kept off.
    pub(crate) fn carries(self, policy: crate::Policy) -> bool {
        use crate::Policy::{Hole, Identity, None, Overlay, Refuse, Relocate, Reserve, Trapped};
        match policy {
            // In a firmware map, or for Cloud Hypervisor on the kernel's command line.
            Hole | Refuse | Reserve | Identity => true,
            // `x-igd-gms` and the registers QEMU shows; with it off, no stolen memory at all.
            Relocate | None => matches!(self, Self::Q35 | Self::I440fx | Self::Library),
            Overlay | Trapped => self == Self::Library,
        }
    }

    /// The ranges that it has fixed, in order.
    pub(crate) fn fixed(self) -> &'static [(u64, u64, &'static str)] {
        match self {
            Self::Q35 => &[
                (0xb000_0000, 0xbfff_ffff, "PCI configuration space (ECAM)"),
                (0xfec0_0000, 0xfec0_0fff, "I/O APIC"),
                (0xfed0_0000, 0xfed0_0fff, "HPET"),
                (0xfed1_c000, 0xfed1_ffff, "chipset registers"),
                (0xfed4_0000, 0xfed4_4fff, "TPM"),
                (0xfee0_0000, 0xfeef_ffff, "interrupts (MSI)"),
                (0xffc0_0000, 0xffff_ffff, "firmware flash"),
            ],
            Self::I440fx | Self::Library => &[
                (0xfec0_0000, 0xfec0_0fff, "I/O APIC"),
                (0xfed0_0000, 0xfed0_0fff, "HPET"),
                (0xfed4_0000, 0xfed4_4fff, "TPM"),
                (0xfee0_0000, 0xfeef_ffff, "interrupts (MSI)"),
                (0xffc0_0000, 0xffff_ffff, "firmware flash"),
            ],
            Self::CloudHypervisor => &[
                (0xe800_0000, 0xf7ff_ffff, "PCI configuration space (ECAM)"),
                (0xfec0_0000, 0xfec0_0fff, "I/O APIC"),
                (0xfed4_0000, 0xfed4_4fff, "TPM"),
                (0xfee0_0000, 0xfeef_ffff, "interrupts (MSI)"),
            ],
        }
    }

    /// Where 32-bit base addresses are put, above low memory: the last address.
    pub(crate) fn window_last(self) -> u64 {
        match self {
            Self::CloudHypervisor => 0xe7ff_ffff,
            Self::Q35 | Self::I440fx | Self::Library => 0xfebf_ffff,
        }
    }

    /// How large the window for 64-bit base addresses is by default.
    pub(crate) fn window_64_bytes(self) -> u64 {
        match self {
            Self::I440fx => 2 * GIB,
            Self::Q35 | Self::CloudHypervisor | Self::Library => 32 * GIB,
        }
    }
}

/// The ranges fixed by `machine`, as spans.
pub(crate) fn fixed(machine: Machine) -> impl Iterator<Item = (Span<Gpa>, &'static str)> {
    machine.fixed().iter().filter_map(|(first, last, name)| {
        Some((Span::new(Gpa::new(*first), Gpa::new(*last))?, *name))
    })
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Machine {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|machine| machine.name() == text).ok_or(())
    }
}
