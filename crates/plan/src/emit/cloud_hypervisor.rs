//! Cloud Hypervisor's arguments.

use ringfence_refusal::Refusal;

use crate::emit::size::size;
use crate::emit::{Consumer, Emitted, command_line, wrong_machine};
use crate::machine::Machine;
use crate::map::Plan;

pub(super) fn emit(plan: &Plan) -> Result<Emitted, Refusal> {
    if plan.machine != Machine::CloudHypervisor {
        return Err(wrong_machine(plan, Consumer::CloudHypervisor));
    }
    let settings = &plan.settings;
    let mut memory = format!("size={}", size(settings.memory_bytes));
    if settings.hotplug_bytes > 0 {
        memory.push_str(&format!(",hotplug_size={}", size(settings.hotplug_bytes)));
    }
    let mut lines = vec![
        format!("--memory {memory}"),
        format!("--cpus max_phys_bits={}", settings.address_bits),
    ];
    let mut notes = Vec::new();
    if plan.viommu.is_some() {
        notes.push(
            "Add iommu=on to each --device that is to be behind the guest's IOMMU.".to_owned(),
        );
    }
    let arguments = command_line::arguments(plan);
    if !arguments.is_empty() {
        // A dollar sign is the shell's.
        lines.push(format!("--cmdline '{}'", arguments.join(" ")));
        notes.push("Put these behind what the kernel's command line has already.".to_owned());
        notes.extend(command_line::emit(plan).notes);
    }
    Ok(Emitted { text: lines.join("\n") + "\n", files: Vec::new(), notes })
}
