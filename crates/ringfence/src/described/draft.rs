//! What has been read so far of a VM, whoever wrote it.

use std::num::NonZeroU64;

use ringfence_addr::PciAddress;
use ringfence_host::Host;
use ringfence_plan::{Assigned, Hotplug, Machine, Policy, Request, Vcpu};
use ringfence_refusal::Refusal;

use super::{Described, Words, not_understood};

/// Functions of a slot, at most (PCI Local Bus 3.0).
const FUNCTIONS: u8 = 8;

/// A device of the host's as it is named: one function, or all that are in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) address: PciAddress,
    pub(super) whole_slot: bool,
    pub(super) policy: Option<Policy>,
}

/// A VM half read.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) words: Words,
    pub(super) memory_bytes: Option<u64>,
    /// All it may get.
    pub(super) most_bytes: Option<u64>,
    pub(super) slots: Option<u16>,
    /// The machine by QEMU's name.
    pub(super) machine: Option<String>,
    pub(super) low_bytes: Option<u64>,
    /// The processor by QEMU's name.
    pub(super) processor: Option<String>,
    pub(super) address_bits: Option<u8>,
    pub(super) devices: Vec<Named>,
    pub(super) keeps_off: bool,
    pub(super) remarks: Vec<String>,
}

impl Draft {
    pub(super) fn new(name: &str, words: Words) -> Self {
        Self {
            name: name.to_owned(),
            words,
            memory_bytes: None,
            most_bytes: None,
            slots: None,
            machine: None,
            low_bytes: None,
            processor: None,
            address_bits: None,
            devices: Vec::new(),
            keeps_off: false,
            remarks: Vec::new(),
        }
    }

    pub(super) fn remark(&mut self, remark: impl Into<String>) {
        self.remarks.push(remark.into());
    }

    /// Adds a device by its name: `0000:01:00.0`, `01:00.0`, or `01:00` for all of a slot.
    pub(super) fn device(&mut self, name: &str, policy: Option<Policy>) {
        let whole_slot = !name.contains('.');
        let full = if whole_slot { format!("{name}.0") } else { name.to_owned() };
        match full.parse::<PciAddress>() {
            Ok(address) => self.devices.push(Named { address, whole_slot, policy }),
            Err(error) => self.remark(format!("device `{}`: {error}", short(name))),
        }
    }

    /// The VM, for `host`, which says what functions a slot has.
    pub(super) fn finish(mut self, host: &Host) -> Result<Described, Refusal> {
        let memory = self.memory_bytes.and_then(NonZeroU64::new);
        let memory = memory.ok_or_else(|| not_understood("it does not say how much memory"))?;
        let machine = self.known_machine();
        let mut assigned: Vec<Assigned> = Vec::new();
        for named in &self.devices {
            for address in functions(named, host) {
                if assigned.iter().all(|one| one.address != address) {
                    assigned.push(Assigned { address, policy: named.policy, guest: None });
                }
            }
        }
        let plugged = self.most_bytes.map_or(0, |most| most.saturating_sub(memory.get()));
        let asked = Request {
            devices: assigned,
            hotplug: Hotplug { bytes: plugged, slots: self.slots.unwrap_or(1) },
            address_bits: self.address_bits,
            vcpu: self.processor.as_deref().and_then(vcpu),
            ..Request::new(memory, machine.unwrap_or(Machine::Q35))
        };
        Ok(Described {
            name: self.name,
            words: self.words,
            machine,
            low_bytes: self.low_bytes.and_then(NonZeroU64::new),
            keeps_off: self.keeps_off,
            remarks: self.remarks,
            asked,
        })
    }

    /// QEMU's own machine, if none is named, is `pc`.
    fn known_machine(&mut self) -> Option<Machine> {
        let name = self.machine.as_deref().unwrap_or("pc");
        let machine = if name == "q35" || name.starts_with("pc-q35") {
            Some(Machine::Q35)
        } else if name == "pc" || name.starts_with("pc-") {
            Some(Machine::I440fx)
        } else {
            None
        };
        if machine.is_none() {
            let remark = format!("where machine `{}` puts memory is not known here", short(name));
            self.remark(remark);
        }
        machine
    }
}

fn functions(named: &Named, host: &Host) -> Vec<PciAddress> {
    let at = named.address;
    if !named.whole_slot {
        return vec![at];
    }
    let all = (0..FUNCTIONS)
        .filter_map(|number| PciAddress::new(at.domain(), at.bus(), at.device(), number))
        .filter(|address| host.function(*address).is_some());
    let all: Vec<_> = all.collect();
    if all.is_empty() { vec![at] } else { all }
}

/// Whose a processor is that QEMU has under that name (`target/i386/cpu.c`); `None` for the host's.
fn vcpu(name: &str) -> Option<Vcpu> {
    let amd = ["EPYC", "Opteron", "phenom", "athlon", "qemu64", "qemu32"];
    match name {
        "" | "host" | "max" | "host-passthrough" | "host-model" => None,
        _ if amd.iter().any(|one| name.starts_with(one)) => Some(Vcpu::Amd),
        _ => Some(Vcpu::Intel),
    }
}

/// As much of a text as is worth repeating.
pub(super) fn short(text: &str) -> String {
    text.chars().take(48).collect()
}
