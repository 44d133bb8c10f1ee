//! What kernels made of real machines, from their listings alone.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::PciAddress;
use ringfence_host::{Host, Model, compare_with_kernel, read, why};

use crate::data::{difference, sets, topologies};

/// A machine, its listing and the kernel's groups as sets.
struct Machine {
    name: String,
    host: Host,
    theirs: BTreeSet<Vec<PciAddress>>,
    follows_pci_rules: bool,
}

fn machines() -> Vec<Machine> {
    let folder = topologies().expect("the machines are there").join("real");
    let truth = std::fs::read(folder.join("truth.json")).expect("the truth");
    let truth: serde_json::Value = serde_json::from_slice(&truth).expect("the truth is JSON");
    let machines = truth.as_object().expect("machines").iter().map(|(name, machine)| {
        let mut bytes =
            std::fs::read(folder.join(format!("{name}.lspci.txt"))).expect("the listing");
        if let Ok(log) = std::fs::read(folder.join(format!("{name}.groups.txt"))) {
            bytes.extend_from_slice(b"\n");
            bytes.extend_from_slice(&log);
        }
        let mut groups: BTreeMap<u64, Vec<PciAddress>> = BTreeMap::new();
        for (address, group) in machine["group_of"].as_object().expect("groups") {
            let group = group.as_u64().expect("a number");
            groups.entry(group).or_default().push(address.parse().expect("an address"));
        }
        let sorted = groups.into_values().map(|mut group| {
            group.sort();
            group
        });
        Machine {
            name: name.clone(),
            host: read::lspci(&bytes).expect("a host"),
            theirs: sorted.collect(),
            follows_pci_rules: machine["linux_pci_device_group"].as_bool() == Some(true),
        }
    });
    machines.collect()
}

/// Ours without functions that the kernel has in no group.
fn grouped(
    host: &Host,
    model: Model,
    theirs: &BTreeSet<Vec<PciAddress>>,
) -> BTreeSet<Vec<PciAddress>> {
    let known: BTreeSet<PciAddress> = theirs.iter().flatten().copied().collect();
    let ours = sets(&model.partition(host)).into_iter().map(|mut set| {
        set.retain(|address| known.contains(address));
        set
    });
    ours.filter(|set| !set.is_empty()).collect()
}

pub(crate) fn linux_on_real_machines() {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for machine in machines().iter().filter(|machine| machine.follows_pci_rules) {
        let ours = grouped(&machine.host, Model::Linux612, &machine.theirs);
        compared += 1;
        if ours != machine.theirs {
            wrong.push(format!("{}: {}", machine.name, difference(&ours, &machine.theirs)));
        }
        // What the kernel left out is left out here, too: all but host bridges of AMD, which are
        // not in the IVRS table, and no listing has that.
        let known: BTreeSet<_> = machine.theirs.iter().flatten().copied().collect();
        let partition = Model::Linux612.partition(&machine.host);
        for group in &partition.groups {
            for address in group.functions.iter().filter(|address| !known.contains(address)) {
                let class = machine.host.functions[address].identity.class;
                if class.known().is_some_and(|class| (class.base, class.sub) == (6, 0)) {
                    continue;
                }
                wrong.push(format!("{}: {address} has no group of the kernel's", machine.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 9, "only {compared} machines");
}

/// Power groups by partitionable endpoints, one a bus, and gives bridges no group.
pub(crate) fn power_differs_as_said() {
    let machines = machines();
    let power = machines.iter().find(|machine| !machine.follows_pci_rules).expect("a POWER9");
    let ours = grouped(&power.host, Model::Bridge, &power.theirs);
    for set in &power.theirs {
        let holds = |ours: &Vec<PciAddress>| set.iter().all(|address| ours.contains(address));
        assert!(ours.iter().any(holds), "{set:?} is not within one of {ours:?}");
    }
    let linux = grouped(&power.host, Model::Linux612, &power.theirs);
    assert_ne!(linux, power.theirs, "Power follows the PCI rules after all");
}

/// Every function of every machine has an answer in every model, and the answer has words.
pub(crate) fn every_function_has_a_why() {
    for machine in machines() {
        for model in Model::ALL {
            for &address in machine.host.functions.keys() {
                let why = why(&machine.host, model, address).expect("an answer");
                assert!(!why.chain.is_empty(), "{} {model} {address}", machine.name);
                for reason in &why.chain {
                    assert!(reason.sentence.ends_with('.'), "{}", reason.sentence);
                }
            }
        }
        let differences = compare_with_kernel(&machine.host);
        for difference in differences {
            assert!(!difference.gap.to_string().is_empty());
        }
    }
}
