//! One join: why one function is with another, small until somebody asks for words.

use crate::model::Ground;
use crate::reason::{Reason, Register, Rule, Standing};

/// Two functions are together, by this rule, because of what is at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) rule: Rule,
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// The function whose register decides.
    pub(crate) at: usize,
    pub(crate) standing: Standing,
}

impl Step {
    /// The step with register, value and a sentence.
    pub(crate) fn reason(&self, ground: &Ground<'_>) -> Reason {
        let node = |index: usize| &ground.topology.nodes[index];
        let (from, to) = (node(self.from).address, node(self.to).address);
        let at = node(self.at).address;
        let verdict = &ground.verdicts[self.at];
        let mut register = None;
        let sentence = match self.rule {
            Rule::BridgeAlias => {
                register = Some(Register {
                    name: "type of bridge".to_owned(),
                    value: bridge_type(ground, self.to),
                });
                format!(
                    "Requests of {from} leave the bridge {to} under an id that all below it share, \
                     so the IOMMU cannot tell them apart."
                )
            }
            Rule::VmdAlias => {
                format!("{from} is behind the Volume Management Device {to} and translates as it.")
            }
            Rule::QuirkAlias | Rule::FirmwareAlias => {
                let by = match (self.rule, node(self.at).aliases.as_deref()) {
                    (Rule::FirmwareAlias, _) => "firmware's IVRS table",
                    (_, Some(aliases)) => aliases.by,
                    (_, None) => "the kernel's table of quirks",
                };
                let other = if self.at == self.from { to } else { from };
                format!("{at} uses the requester id of {other} beside its own ({by}).")
            }
            Rule::PortWithoutAcs => {
                register = verdict.register(&node(self.at).function);
                let port = port_type(ground, self.at);
                format!(
                    "{from} is with {to}, because the {port} {at} does not keep requests from \
                     turning around below it: {}.",
                    verdict.clause()
                )
            }
            Rule::SwitchWithoutAcs => {
                register = verdict.register(&node(self.at).function);
                format!(
                    "{from} is with {to}, because requests can turn around at the {} {at} inside \
                     its switch: {}.",
                    port_type(ground, self.at),
                    verdict.clause()
                )
            }
            Rule::FunctionsOfOneDevice => {
                register = verdict.register(&node(self.at).function);
                format!(
                    "{from} and {to} are functions of one device, and {at} does not keep its \
                     requests from the other: {}.",
                    verdict.clause()
                )
            }
            Rule::VirtualFunction => {
                register = verdict.register(&node(self.at).function);
                format!(
                    "{from} is a virtual function of {to}, and no ACS register shows that the \
                     device keeps them apart."
                )
            }
            Rule::Unread => {
                register = verdict.register(&node(self.at).function);
                format!("{from} is with {to}, because what is above {at} was not read.")
            }
            Rule::SharedBus => format!("{from} and {to} are on one bus, on which all see all."),
            Rule::BridgeIsolates => format!(
                "{from} is with {to}, because nothing finer than a root port or a bridge to \
                 conventional PCI counts as isolating here."
            ),
            Rule::KernelSays => format!("The kernel has {from} and {to} in one group."),
            Rule::ConfigThroughMemory => format!(
                "{at} may show its config space through its memory, and could move itself over \
                 {}.",
                if self.at == self.from { to } else { from }
            ),
            Rule::BusWideError => {
                format!("An error of {from} would take the bus with it, and {to} is on it.")
            }
            Rule::FunctionZeroId => {
                format!("Requests of {from} may go out under the id of function 0, {to}.")
            }
            Rule::DecodedBeforeHostBridge => format!(
                "{from} and {to} are on one root bus, whose cycles one may take before the host \
                 bridge sees them."
            ),
            rule => format!("{from} and {to} are together ({}).", rule.name()),
        };
        let with = if at == from { to } else { from };
        Reason {
            rule: self.rule,
            at,
            with: (with != at).then_some(with),
            register,
            standing: self.standing,
            sentence,
        }
    }
}

/// What a bridge is, for people.
pub(crate) fn port_type(ground: &Ground<'_>, index: usize) -> String {
    match ground.topology.nodes[index].port {
        crate::fact::Fact::Known(Some(port)) => port.to_string(),
        crate::fact::Fact::Known(None) => "conventional bridge".to_owned(),
        crate::fact::Fact::Unknown(_) => "bridge of unknown type".to_owned(),
    }
}

fn bridge_type(ground: &Ground<'_>, index: usize) -> String {
    if ground.topology.is_hidden_pcie_bridge(index) {
        return "PCIe-to-PCI bridge that does not say so".to_owned();
    }
    port_type(ground, index)
}
