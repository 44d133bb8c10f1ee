//! What the kernel that ran says, and why some functions have no group.

use std::collections::BTreeMap;

use crate::fact::Fact;
use crate::model::{Ground, Grouping, Step, without};
use crate::reason::{Reason, Register, Rule, Standing};

/// The kernel's groups.
pub(crate) fn group(ground: &Ground<'_>) -> Grouping {
    let mut grouping = Grouping::new(ground);
    grouping.remark = Some(says);
    let mut first: BTreeMap<u32, usize> = BTreeMap::new();
    let iommus = without::named(ground.topology.host);
    for (index, node) in ground.topology.nodes.iter().enumerate() {
        if node.absent {
            continue;
        }
        match node.function.kernel_group {
            Fact::Known(Some(number)) => match first.get(&number) {
                Some(&first) => grouping.join(Step {
                    rule: Rule::KernelSays,
                    from: index,
                    to: first,
                    at: index,
                    standing: Standing::Proven,
                }),
                None => {
                    first.insert(number, index);
                }
            },
            Fact::Known(None) => {
                let reason = without::why_none(ground.topology.host, &iommus, &node.function);
                grouping.without.insert(node.address, reason);
            }
            Fact::Unknown(why) => {
                let reason = Reason {
                    rule: Rule::Unread,
                    at: node.address,
                    with: None,
                    register: Some(Register {
                        name: "iommu_group".to_owned(),
                        value: why.to_string(),
                    }),
                    standing: Standing::Unknown,
                    sentence: format!("The kernel's group of {} was not read.", node.address),
                };
                grouping.without.insert(node.address, reason);
            }
        }
    }
    grouping
}

fn says(ground: &Ground<'_>, node: usize) -> Reason {
    let here = &ground.topology.nodes[node];
    let number = here.function.kernel_group.known().copied().flatten();
    let value = number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    Reason {
        rule: Rule::KernelSays,
        at: here.address,
        with: None,
        register: Some(Register { name: "iommu_group".to_owned(), value: value.clone() }),
        standing: Standing::Proven,
        sentence: format!("The kernel has {} in its group {value}.", here.address),
    }
}
