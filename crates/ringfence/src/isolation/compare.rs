//! A model's groups beside those the kernel has: where they differ, the kernel's may be stale.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::PciAddress;
use ringfence_host::{Verdict, compare_with_kernel};

use super::{Difference, View};

/// Where the kernel's groups are others; `None` where the kernel has none or they were not read.
///
/// Functions the model puts in no group are passed over: it has said why.
pub(crate) fn differences(view: &View<'_>) -> Option<Vec<Difference>> {
    let mut members: BTreeMap<u32, BTreeSet<PciAddress>> = BTreeMap::new();
    for function in view.host.functions.values() {
        if let Some(Some(number)) = function.kernel_group.known() {
            members.entry(*number).or_default().insert(function.address);
        }
    }
    if members.is_empty() {
        return None;
    }
    let number = |address: PciAddress| {
        view.host.function(address).and_then(|one| one.kernel_group.known().copied().flatten())
    };
    let known = compare_with_kernel(view.host);
    let mut differences = Vec::new();
    for group in &view.partition.groups {
        let numbers: BTreeSet<Option<u32>> =
            group.functions.iter().map(|address| number(*address)).collect();
        let model = &view.partition.model;
        let together = list(&group.functions);
        let sentence = if numbers.len() > 1 {
            format!(
                "{together} are together by {model}; the kernel has them in {}",
                named(&numbers)
            )
        } else if let Some(&Some(only)) = numbers.first() {
            let others: Vec<PciAddress> = members[&only]
                .iter()
                .filter(|address| !group.functions.contains(address))
                .copied()
                .collect();
            if others.is_empty() {
                continue;
            }
            format!(
                "the kernel has {together} with {} in its group {only}; by {model} they are apart",
                list(&others)
            )
        } else {
            format!("{together}: in no group of the kernel's")
        };
        let found = known.iter().find(|found| {
            let (one, other) = found.functions;
            group.functions.contains(&one) || group.functions.contains(&other)
        });
        let gap = found.map(|found| found.gap.to_string());
        let verdict = found.map(|found| match found.verdict {
            Verdict::Stale => "stale",
            Verdict::KernelWeaker => "kernel-weaker",
            Verdict::KernelStronger => "kernel-stronger",
        });
        let sentence = match (verdict, &gap) {
            (Some(verdict), Some(gap)) => format!("{sentence} ({verdict}: {gap})"),
            _ => sentence,
        };
        differences.push(Difference {
            verdict,
            gap,
            functions: group.functions.iter().map(ToString::to_string).collect(),
            kernel_groups: numbers.into_iter().collect(),
            sentence,
        });
    }
    Some(differences)
}

fn list(functions: &[PciAddress]) -> String {
    let shown: Vec<String> = functions.iter().take(4).map(ToString::to_string).collect();
    match functions.len() {
        count @ 5.. => format!("{} and {} more", shown.join(", "), count - 4),
        _ => shown.join(", "),
    }
}

fn named(numbers: &BTreeSet<Option<u32>>) -> String {
    let names = numbers.iter().take(6).map(|number| match number {
        Some(number) => format!("group {number}"),
        None => "no group".to_owned(),
    });
    names.collect::<Vec<_>>().join(" and ")
}
