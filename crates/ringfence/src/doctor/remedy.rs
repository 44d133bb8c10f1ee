//! What a VMM would have to be told, in the words of where the VM is described.

use ringfence_plan::emit::{Consumer, Surroundings, emit};
use ringfence_plan::{Machine, Plan, Policy};
use ringfence_refusal::Refusal;

use crate::described::{Described, Words};

/// Where files that are needed shall be, as the remedy names them.
const FOLDER: &str = "FOLDER";

/// The exact options that `plan` comes out at.
pub(super) fn remedy(vm: &Described, plan: &Result<Plan, Vec<Refusal>>) -> String {
    let plan = match plan {
        Ok(plan) => plan,
        Err(refusals) => {
            let codes: Vec<_> = refusals.iter().map(|one| one.code().to_string()).collect();
            return format!("no map does as it is asked for: see {}", codes.join(", "));
        }
    };
    let consumer = match (plan.machine, vm.words) {
        (Machine::CloudHypervisor, _) => Consumer::CloudHypervisor,
        (Machine::Library, _) => Consumer::E820,
        (_, Words::Libvirt) => Consumer::Libvirt,
        (_, Words::Own | Words::Proxmox | Words::Qemu) => Consumer::Qemu,
    };
    let around = Surroundings { folder: Some(FOLDER), ..Surroundings::default() };
    let emitted = match emit(plan, around, consumer) {
        Ok(emitted) => emitted,
        Err(refusal) => return told_otherwise(vm, plan, &refusal),
    };
    let lines = emitted.text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut text = match vm.words {
        Words::Proxmox => proxmox(lines, plan),
        Words::Libvirt => lines.collect::<Vec<_>>().concat(),
        Words::Own | Words::Qemu => lines.collect::<Vec<_>>().join(" "),
    };
    if vm.words == Words::Own {
        text = format!("`ringfence plan VM --for {consumer} --out {FOLDER}`: {text}");
    } else if !emitted.files.is_empty() {
        let names: Vec<_> = emitted.files.iter().map(|file| file.name).collect();
        text.push_str(&format!(
            "\n{} in {FOLDER}: of `ringfence plan --for {consumer} --out {FOLDER}` for a VM like this",
            names.join(", ")
        ));
    }
    for note in &emitted.notes {
        text.push_str(&format!("\n{note}"));
    }
    text
}

/// The map is there and this consumer cannot be told all of it.
fn told_otherwise(vm: &Described, plan: &Plan, refusal: &Refusal) -> String {
    let asked = plan.settlements.iter().any(|one| one.policy != Policy::Hole && one.asked);
    let own = vm.words == Words::Own;
    match (own, asked) {
        (true, _) => format!("`ringfence plan VM`; {}", refusal.detail()),
        (false, true) => format!("{}; write `regions = \"hole\"`", refusal.detail()),
        (false, false) => refusal.detail().to_owned(),
    }
}

/// `args:` takes what is added to QEMU's arguments; memory has a line of its own.
fn proxmox<'a>(lines: impl Iterator<Item = &'a str>, plan: &Plan) -> String {
    let mut arguments = Vec::new();
    for line in lines {
        if line.starts_with("-m ") {
            continue;
        }
        match line.strip_prefix("-machine ") {
            Some(machine) => arguments
                .extend(machine.split_once(',').map(|(_, rest)| format!("-machine {rest}"))),
            None => arguments.push(line.to_owned()),
        }
    }
    let memory = plan.settings.memory_bytes >> 20;
    format!("memory: {memory}\nargs: {}", arguments.join(" "))
}
