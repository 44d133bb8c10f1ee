//! Checks of a VM on a host: each of its devices, and its memory as its VMM places it when nobody plans.

use ringfence_addr::PciAddress;
use ringfence_device::{VFIO_PCI, Viability, refusals as device, serves_vfio, viability};
use ringfence_host::{Fact, Host, HostMemory, Stolen};
use ringfence_plan::refusals::{HOTPLUG, RESERVED_IN_MEMORY};
use ringfence_plan::{Plan, Policy};
use ringfence_refusal::Refusal;

use super::check::Check;
use super::codes::{AT_RISK, NOT_BOUND, NOT_READ, OUTSIDER, STOLEN};
use super::{bypass, region, remedy};
use crate::described::{Described, Words};
use crate::size::Bytes;

/// From here on drivers compare registers that name only the host's address.
const COMPARES_FROM: u8 = 11;

pub(super) fn checks(host: &Host, memory: &HostMemory, vm: &Described) -> Vec<Check> {
    let mut checks: Vec<_> = vm
        .remarks
        .iter()
        .map(|remark| Check::warn(&NOT_READ, &vm.name, remark).remedy("look at it yourself"))
        .collect();
    if vm.functions().next().is_none() {
        checks.push(Check::pass(&NOT_BOUND, &vm.name, "it has no PCI function of the host's"));
    }
    for address in vm.functions() {
        checks.extend(function(host, address, vm));
    }
    let Some(request) = vm.request() else {
        checks.extend(region::of_vm(memory, vm, ""));
        return checks;
    };
    let plan = ringfence_plan::plan(std::slice::from_ref(memory), &request);
    let remedy = remedy::remedy(vm, &plan);
    checks.extend(region::of_vm(memory, vm, &remedy));
    let said = |check: &Check| check.code == &RESERVED_IN_MEMORY;
    let is_said = checks.iter().any(said);
    let refusals = plan.as_ref().err().into_iter().flatten();
    let new = refusals.filter(|refusal| !is_said || refusal.code() != &RESERVED_IN_MEMORY);
    checks.extend(new.map(|refusal| Check::refused(concerned(vm, refusal), refusal)));
    if let Ok(plan) = &plan {
        checks.extend(risks(plan, vm));
        if request.hotplug.bytes > 0 {
            let finding = format!("{} can be plugged beside regions", Bytes(request.hotplug.bytes));
            checks.push(Check::pass(&HOTPLUG, &vm.name, finding));
        }
    }
    checks.extend(stolen(memory, vm));
    checks.extend(bypass::checks(memory, |address| vm.functions().any(|one| one == address)));
    checks
}

/// Whom a refusal is about: the functions it names, or the VM.
fn concerned(vm: &Described, refusal: &Refusal) -> String {
    let named: Vec<_> = vm
        .functions()
        .map(|address| address.to_string())
        .filter(|name| refusal.detail().contains(name))
        .collect();
    if named.is_empty() { vm.name.clone() } else { named.join(", ") }
}

fn function(host: &Host, address: PciAddress, vm: &Described) -> Vec<Check> {
    let Some(viability) = viability(host, address) else {
        return vec![if host.functions.is_empty() {
            Check::warn(&NOT_READ, address, "the host's functions are not in what was read")
        } else {
            let refusal = Refusal::new(&device::NO_FUNCTION, "the host has none there");
            Check::refused(address, &refusal)
        }];
    };
    let mut checks = Vec::new();
    let group = match viability.group {
        Fact::Known(Some(group)) => group,
        Fact::Known(None) => {
            let detail = "the kernel has put it in no group";
            return vec![Check::refused(address, &Refusal::new(&device::NO_GROUP, detail))];
        }
        Fact::Unknown(why) => {
            let finding = format!("its group and who else is in it: {why}");
            return vec![Check::warn(&NOT_READ, address, finding)];
        }
    };
    checks.extend(bound(host, address, &viability, vm));
    let ours = |one: &PciAddress| vm.functions().any(|own| own == *one);
    for blocker in viability.blockers.iter().filter(|one| !ours(&one.function)) {
        let finding = format!("not viable: {blocker}, in the same group {group}");
        let check = Check::fail(&device::NOT_VIABLE, address, finding);
        checks.push(check.remedy(format!("take the whole group: ringfence claim {address}")));
    }
    let blocks = |one: &PciAddress| viability.blockers.iter().any(|other| other.function == *one);
    let outsiders: Vec<_> = host
        .functions
        .values()
        .filter(|one| one.kernel_group.known() == Some(&Some(group)) && !one.is_bridge())
        .map(|one| one.address)
        .filter(|one| !ours(one) && !blocks(one))
        .collect();
    if !outsiders.is_empty() {
        let names: Vec<_> = outsiders.iter().map(ToString::to_string).collect();
        let finding = format!(
            "in group {group} with {}, not the VM's, which reach what it reaches",
            names.join(", ")
        );
        checks.push(Check::warn(&OUTSIDER, address, finding));
    } else if viability.blockers.iter().all(|one| ours(&one.function)) {
        let finding = format!("group {group} is wholly the VM's");
        checks.push(Check::pass(&OUTSIDER, address, finding));
    }
    if !viability.unknown.is_empty() {
        let names: Vec<_> = viability.unknown.iter().map(ToString::to_string).collect();
        let finding = format!("drivers in group {group}: {}", names.join(", "));
        checks.push(Check::warn(&NOT_READ, address, finding));
    }
    checks
}

fn bound(host: &Host, address: PciAddress, viability: &Viability, vm: &Described) -> Option<Check> {
    let driver = host.function(address)?.driver.known()?;
    let by_vfio = viability.served_by.known().is_some_and(Option::is_some);
    Some(match driver {
        Some(name) if by_vfio || serves_vfio(name) => {
            Check::pass(&NOT_BOUND, address, format!("bound to {name}"))
        }
        other => {
            let driver = other.as_deref().unwrap_or("no driver");
            let finding = match vm.words {
                Words::Libvirt | Words::Proxmox => {
                    format!("bound to {driver}; it is bound to {VFIO_PCI} when the VM starts")
                }
                Words::Own | Words::Qemu => format!("bound to {driver}, not to {VFIO_PCI}"),
            };
            let check = Check::warn(&NOT_BOUND, address, finding);
            check.remedy(format!("ringfence claim {address}"))
        }
    })
}

fn risks(plan: &Plan, vm: &Described) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for risk in &plan.risks {
        let finding = format!("case {}: {}", risk.case, risk.text);
        if checks.iter().all(|check| check.finding != finding) {
            checks.push(Check::warn(&AT_RISK, &vm.name, finding));
        }
    }
    checks
}

/// How much memory of their own the VM's graphics functions have, and what becomes of it.
fn stolen(memory: &HostMemory, vm: &Described) -> Vec<Check> {
    let mut checks = Vec::new();
    for address in vm.functions() {
        let Some(fact) = memory.stolen.get(&address) else { continue };
        checks.push(match fact {
            Fact::Known(stolen) => of_stolen(address, stolen, vm),
            Fact::Unknown(why) => {
                Check::warn(&NOT_READ, address, format!("how much memory of its own it has: {why}"))
            }
        });
    }
    checks
}

fn of_stolen(address: PciAddress, stolen: &Stolen, vm: &Described) -> Check {
    let Some(span) = stolen.span() else {
        return Check::pass(&STOLEN, address, "it has no memory of its own");
    };
    let size = Bytes(span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get));
    let generation = stolen.generation;
    let policy = vm.policy(address);
    let name = policy.name();
    let finding = format!("{size} of its own at {span}, generation {generation}, policy `{name}`");
    match policy {
        Policy::Identity | Policy::Overlay | Policy::None => Check::pass(&STOLEN, address, finding),
        _ if generation >= COMPARES_FROM => {
            let why = "drivers compare its registers with the host's address and give up";
            Check::warn(&STOLEN, address, format!("{finding}: {why}"))
        }
        Policy::Hole | Policy::Reserve => {
            let why = "what the device does there by itself faults";
            Check::warn(&STOLEN, address, format!("{finding}: {why}"))
        }
        Policy::Relocate | Policy::Trapped | Policy::Refuse => {
            Check::pass(&STOLEN, address, finding)
        }
    }
}
