//! The keys of `[vm]` that say where its memory may lie.

use std::num::NonZeroU64;

use ringfence_plan::{Assigned, Hotplug, Machine, Request, Vcpu, Viommu, WindowWish};

use super::VhostUser;
use super::pci::Function;
use super::reader::Table;

/// As much as could ever be plugged.
const HOTPLUG_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=16 << 40;
const HOTPLUG_STEP_BYTES: u64 = 1 << 20;
/// As many slots as QEMU has.
const SLOTS: std::ops::RangeInclusive<i64> = 1..=256;
/// From all that is below 4 GiB to all that a processor can have.
const ADDRESS_BITS: std::ops::RangeInclusive<i64> = 32..=52;

/// Where the memory of a VM may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placing {
    pub(crate) machine: Machine,
    pub(crate) address_bits: Option<u8>,
    pub(crate) vcpu: Option<Vcpu>,
    pub(crate) hotplug: Hotplug,
    pub(crate) direct_allowed: bool,
    pub(crate) shared_allowed: bool,
    pub(crate) viommu: Option<Viommu>,
}

/// Decodes them; `vmm` is the program that runs the VM.
pub(super) fn decode(table: &Table<'_>, vmm: &str) -> Placing {
    let machines = Machine::ALL.map(|machine| (machine.name(), machine));
    let of_vmm =
        if vmm.contains("cloud-hypervisor") { Machine::CloudHypervisor } else { Machine::Q35 };
    let hotplug = table.size("hotplug", HOTPLUG_BYTES, HOTPLUG_STEP_BYTES);
    let slots = table.number("hotplug_slots", SLOTS);
    let viommus = Viommu::ALL.map(|viommu| (viommu.name(), viommu));
    let permits = [("refuse", false), ("allow", true)];
    Placing {
        machine: table.choice("machine", &machines).unwrap_or(of_vmm),
        address_bits: table
            .number("address_bits", ADDRESS_BITS)
            .and_then(|bits| u8::try_from(bits).ok()),
        vcpu: table.choice("vcpu", &[("intel", Vcpu::Intel), ("amd", Vcpu::Amd)]),
        hotplug: Hotplug {
            bytes: hotplug.map_or(0, |bytes| bytes.value),
            slots: slots.and_then(|slots| u16::try_from(slots).ok()).unwrap_or(1),
        },
        direct_allowed: table.choice("direct_regions", &permits).unwrap_or(false),
        shared_allowed: table.choice("shared_regions", &permits).unwrap_or(false),
        viommu: table.choice("viommu", &viommus),
    }
}

impl Placing {
    /// What to ask the planner for.
    pub(crate) fn request(
        &self,
        memory: NonZeroU64,
        functions: &[Function],
        devices: &[VhostUser],
    ) -> Request {
        let assigned = |later: bool| {
            let of = functions.iter().filter(move |function| function.later == later);
            of.map(|function| Assigned {
                address: function.address,
                policy: function.regions,
                guest: function.guest,
            })
        };
        let windows = devices.iter().filter_map(|device| {
            let bytes = NonZeroU64::new(device.window_bytes)?;
            Some(WindowWish { name: device.name.clone(), bytes, guest: device.guest? })
        });
        Request {
            devices: assigned(false).collect(),
            later: assigned(true).collect(),
            hotplug: self.hotplug,
            address_bits: self.address_bits,
            vcpu: self.vcpu,
            direct_allowed: self.direct_allowed,
            shared_allowed: self.shared_allowed,
            viommu: self.viommu,
            windows: windows.collect(),
            ..Request::new(memory, self.machine)
        }
    }
}
