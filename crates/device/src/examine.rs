//! Looking at a group before it is taken: the plan, and everything that speaks against it.

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;
use ringfence_host::Partition;
use ringfence_refusal::{Failure, Fault, Refusal};

use crate::accepted::VFIO_PCI;
use crate::in_use;
use crate::member::{Member, survey};
use crate::plan::{ClaimPlan, Step};
use crate::refusals;
use crate::root::{Root, read};

/// A plan and what speaks against it.
#[derive(Debug)]
pub struct Examination {
    /// What would be done.
    pub plan: ClaimPlan,
    /// Why it will not be done; empty if nothing speaks against it.
    pub refusals: Vec<Refusal>,
}

/// Looks at `functions`, which are to be taken together. Changes nothing.
pub fn examine(root: &Root, functions: &[PciAddress]) -> Result<Examination, Failure> {
    examine_plan(root, ClaimPlan::new(survey(root, functions)?))
}

/// Looks at what a plan would take.
pub(crate) fn examine_plan(root: &Root, plan: ClaimPlan) -> Result<Examination, Failure> {
    let mut refusals = Vec::new();
    refusals.extend(parts_of_groups(root, &plan.members)?);
    refusals.extend(direct_regions(root, &plan.members)?);
    refusals.extend(absent_driver(root, &plan));
    refusals.extend(in_use::refuse(&in_use::uses(root)?, &plan));
    Ok(Examination { plan, refusals })
}

/// The functions of all groups that any of `named` is in, in order: what a claim of `named` takes.
/// Refuses a function that the model puts in no group.
pub fn whole_groups(
    partition: &Partition,
    named: &[PciAddress],
) -> Result<Vec<PciAddress>, Refusal> {
    let mut functions = Vec::new();
    for address in named {
        let group = partition.group_of(*address).ok_or_else(|| {
            let what = format!("{address}, says {}", partition.model);
            Refusal::new(&refusals::NO_GROUP, what)
        })?;
        functions.extend_from_slice(&group.functions);
    }
    functions.sort_unstable();
    functions.dedup();
    Ok(functions)
}

/// `functions` and whatever the kernel or the model put together with any of them, until neither
/// has more to add.
///
/// # Errors
///
/// A function that either puts in no group is refused; sysfs may fail to be read.
pub fn closed_groups(
    root: &Root,
    partition: &Partition,
    named: &[PciAddress],
) -> Result<Vec<PciAddress>, Failure> {
    let mut functions = observed_groups(root, named)?;
    loop {
        let more = observed_groups(root, &whole_groups(partition, &functions)?)?;
        // Each round adds to it, and there are only so many functions.
        if more.len() == functions.len() {
            return Ok(functions);
        }
        functions = more;
    }
}

/// As [`whole_groups`], of the groups this kernel has made: it gives out no less.
pub fn observed_groups(root: &Root, named: &[PciAddress]) -> Result<Vec<PciAddress>, Failure> {
    let mut functions = Vec::new();
    for member in survey(root, named)? {
        let no_group = || {
            let what = format!("{}, says this kernel", member.address);
            Refusal::new(&refusals::NO_GROUP, what)
        };
        functions.extend(root.functions_of(member.kernel_group.ok_or_else(no_group)?)?);
    }
    functions.sort_unstable();
    functions.dedup();
    Ok(functions)
}

/// Refuses functions that leave others of their group behind, by the kernel's groups. The kernel
/// gives out whole groups only, whatever a model says.
fn parts_of_groups(root: &Root, members: &[Member]) -> Result<Vec<Refusal>, Fault> {
    let mut refusals = Vec::new();
    for member in members.iter().filter(|member| member.kernel_group.is_none()) {
        let what = format!("{}, says this kernel", member.address);
        refusals.push(Refusal::new(&refusals::NO_GROUP, what));
    }
    for (group, first) in kernel_groups(members) {
        for left in root.functions_of(group)? {
            if !members.iter().any(|member| member.address == left) {
                let driver = root.driver_of(left)?;
                let driver = driver.as_deref().unwrap_or("no driver");
                let what = format!("{left} ({driver}) is in group {group} with {first}");
                refusals.push(Refusal::new(&refusals::PARTIAL, what));
            }
        }
    }
    Ok(refusals)
}

/// The kernel's groups the members are in, each with the first of them.
pub(crate) fn kernel_groups(members: &[Member]) -> BTreeMap<u32, PciAddress> {
    let mut groups = BTreeMap::new();
    for member in members {
        if let Some(group) = member.kernel_group {
            groups.entry(group).or_insert(member.address);
        }
    }
    groups
}

/// Refuses groups in which firmware wants memory mapped one to one: the kernel will not take that
/// mapping away, so VFIO cannot have them.
fn direct_regions(root: &Root, members: &[Member]) -> Result<Vec<Refusal>, Fault> {
    let mut refusals = Vec::new();
    for (group, first) in kernel_groups(members) {
        for region in direct_regions_of(root, group)? {
            let what = format!("{region} in group {group} of {first}");
            refusals.push(Refusal::new(&refusals::DIRECT_REGION, what));
        }
    }
    Ok(refusals)
}

/// The regions of a group that firmware wants mapped one to one, and that are not relaxable.
fn direct_regions_of(root: &Root, group: u32) -> Result<Vec<String>, Fault> {
    let regions = read(&root.kernel_group(group).join("reserved_regions"))?.unwrap_or_default();
    Ok(regions.lines().filter_map(direct).collect())
}

/// The region of a line of `reserved_regions`, if it is such a one.
pub(crate) fn direct(line: &str) -> Option<String> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [first, last, "direct"] = fields[..] else { return None };
    Some(format!("{first}-{last}"))
}

/// Refuses when the driver that is to take the functions is not there.
fn absent_driver(root: &Root, plan: &ClaimPlan) -> Option<Refusal> {
    let wants = |step: &&Step| matches!(step, Step::Probe { driver, .. } if driver == VFIO_PCI);
    let step = plan.steps.iter().find(wants)?;
    if root.driver(VFIO_PCI).exists() {
        return None;
    }
    let what = format!("no {VFIO_PCI} to take {}", step.function());
    Some(Refusal::new(&refusals::NO_DRIVER, what))
}
