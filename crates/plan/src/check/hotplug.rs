//! Where memory would be plugged, by the VMM's own rule.

use super::express::pieces;
use super::facts::Facts;
use super::violation::{Rule, Violation};
use crate::machine::Machine;
use crate::map::Use;

const MIB: u64 = 0x10_0000;

pub(super) fn check(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let (hotplug, settings) = (facts.request.hotplug, &facts.plan.settings);
    let windows = facts.used(&[Use::Hotplug]);
    let mut broken = |text: String| {
        found.push(Violation::new(Rule::Hotplug, windows.first().copied(), text));
    };
    if (settings.hotplug_bytes, settings.hotplug_slots) != (hotplug.bytes, hotplug.slots) {
        broken(format!(
            "{} bytes in {} pieces are to be plugged, the VMM is told {} in {}",
            hotplug.bytes, hotplug.slots, settings.hotplug_bytes, settings.hotplug_slots
        ));
    }
    if hotplug.bytes == 0 {
        if !windows.is_empty() {
            broken("no memory is to be plugged, and there is a place for it".to_owned());
        }
        return;
    }
    let [window] = windows[..] else {
        broken(format!("memory is to be plugged in {} places", windows.len()));
        return;
    };
    let bytes = u128::from(window.last().get() - window.first().get()) + 1;
    let slots = u64::from(hotplug.slots);
    // QEMU: `pc_get_device_memory_range`; Cloud Hypervisor: `MemoryManager::start_addr`.
    let (unit, each) = match facts.request.machine {
        Machine::CloudHypervisor => (128 * MIB, 0),
        Machine::Q35 | Machine::I440fx => (1024 * MIB, 1024 * MIB),
        Machine::Library => {
            if bytes < u128::from(hotplug.bytes) {
                broken(format!("{} bytes are to be plugged at {window}", hotplug.bytes));
            }
            return;
        }
    };
    let Some(pieces) = pieces(facts, settings.memory_bytes) else { return };
    let first = pieces.high_end().checked_add(unit - 1).map(|end| end / unit * unit);
    let wanted = u128::from(hotplug.bytes) + u128::from(slots) * u128::from(each);
    if first != Some(window.first().get()) || wanted != bytes {
        broken(format!(
            "{} plugs {wanted} bytes from {first:#x?} on, the plan has {window}",
            facts.request.machine
        ));
    }
}
