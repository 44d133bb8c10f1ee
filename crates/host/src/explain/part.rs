//! The single change that parts two functions: candidates in order, each tried.

use ringfence_addr::PciAddress;

use crate::acs::AcsBits;
use crate::explain::are_together;
use crate::host::Host;
use crate::isolation::Basis;
use crate::isolation::overrides;
use crate::model::{Ground, Model, Step};
use crate::reason::{Change, Rule};
use crate::topology::Topology;
use crate::whatif::apply_move::free_ports;
use crate::whatif::{AcsSetting, WhatIf};

/// Free slots that are tried before giving up.
const SLOTS_TRIED_MAX: usize = 16;

/// The bits that isolation requires, as `pci=config_acs=` has them.
const REQUIRED: &str = "xx111x1";

/// Whether anybody would want these two apart: not a bridge from what is below it.
pub(super) fn is_worth_parting(ground: &Ground<'_>, one: PciAddress, other: PciAddress) -> bool {
    let is_bridge = |address| {
        let node = ground.topology.index(address);
        node.is_some_and(|node| ground.topology.nodes[node].function.is_bridge())
    };
    is_bridge(one) || !is_bridge(other)
}

/// The change, if one parts them.
pub(super) fn find(
    host: &Host,
    model: Model,
    ground: &Ground<'_>,
    path: &[Step],
    one: PciAddress,
    other: PciAddress,
) -> Option<Change> {
    if model == Model::Observed {
        return None;
    }
    by_acs(host, model, ground, path, one, other)
        .or_else(|| by_move(host, model, one, other))
        .or_else(|| by_move(host, model, other, one))
}

/// ACS control bits that are off and could be on: at one port, else at all of the chain at once.
fn by_acs(
    host: &Host,
    model: Model,
    ground: &Ground<'_>,
    path: &[Step],
    one: PciAddress,
    other: PciAddress,
) -> Option<Change> {
    let mut ports: Vec<usize> = Vec::new();
    for at in path.iter().filter(|step| is_about_acs(step.rule)).map(|step| step.at) {
        for at in std::iter::once(at).chain(bridges_above(&ground.topology, at)) {
            let could = matches!(ground.verdicts[at].basis, Basis::Registers { missing } if !missing.is_empty())
                || matches!(ground.verdicts[at].basis, Basis::Quirk(answer) if !answer.missing.is_empty());
            if could && !ports.contains(&at) {
                ports.push(at);
            }
        }
    }
    let single = ports.iter().map(std::slice::from_ref);
    let all = std::iter::once(ports.as_slice()).filter(|ports| ports.len() > 1);
    single.chain(all).find_map(|ports| {
        let addresses: Vec<_> =
            ports.iter().map(|&port| ground.topology.nodes[port].address).collect();
        let changes: Vec<_> = addresses
            .iter()
            .map(|&address| WhatIf::Acs { address, setting: AcsSetting::On })
            .collect();
        let changed = WhatIf::apply_all(&changes, host).ok()?;
        parts(&changed, model, (one, other)).then(|| acs_change(host, ground, ports, &changes))
    })
}

fn acs_change(host: &Host, ground: &Ground<'_>, ports: &[usize], changes: &[WhatIf]) -> Change {
    let items: Vec<String> = ports
        .iter()
        .map(|&port| format!("{REQUIRED}@{}", ground.topology.nodes[port].address))
        .collect();
    let names: Vec<String> =
        ports.iter().map(|&port| ground.topology.nodes[port].address.to_string()).collect();
    let words = overrides::changes(host);
    let because = if words.is_empty() {
        String::new()
    } else {
        format!(" Now the command line has {}, which may be what clears it.", words.join(" "))
    };
    Change {
        sentence: format!(
            "Set {} in the ACS control of {}.{because}",
            AcsBits::REQUIRED,
            names.join(" and ")
        ),
        what_if: Some(changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
        kernel_argument: Some(format!("pci=config_acs={}", items.join(";"))),
    }
}

/// A free slot elsewhere for the device of `one`.
fn by_move(host: &Host, model: Model, one: PciAddress, other: PciAddress) -> Option<Change> {
    let topology = Topology::of(host);
    let node = topology.index(one)?;
    // What is on a root bus is soldered there; virtual functions go with their device.
    topology.bridge_of(node)?;
    if topology.nodes[node].physical.is_some() {
        return None;
    }
    free_ports(&topology).into_iter().take(SLOTS_TRIED_MAX).find_map(|port| {
        let below = topology.nodes[port].address;
        let change = WhatIf::Move { address: one, below };
        let (changed, places) = change.apply_and_follow(host).ok()?;
        let place = |address| places.get(&address).copied().unwrap_or(address);
        let together = !parts(&changed, model, (place(one), place(other)));
        (!together).then(|| Change {
            sentence: format!("Put the device of {one} in the free slot below {below}."),
            what_if: Some(change.to_string()),
            kernel_argument: None,
        })
    })
}

fn parts(changed: &Host, model: Model, ends: (PciAddress, PciAddress)) -> bool {
    let ground = model.ground(changed);
    let grouping = model.group(&ground);
    !are_together(grouping, &ground, ends)
}

fn is_about_acs(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::PortWithoutAcs
            | Rule::SwitchWithoutAcs
            | Rule::FunctionsOfOneDevice
            | Rule::VirtualFunction
    )
}

fn bridges_above<'a>(topology: &'a Topology<'_>, node: usize) -> impl Iterator<Item = usize> + 'a {
    std::iter::successors(topology.bridge_of(node), |&bridge| topology.bridge_of(bridge))
}
