//! What this host itself cannot do without: the disks it runs from, the way out, the console.

mod console;
mod disks;
mod routes;

use ringfence_addr::PciAddress;
use ringfence_refusal::{Code, Fault, Refusal};

use crate::plan::ClaimPlan;
use crate::root::Root;

/// Something the host uses, and the functions it would lose it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// The refusal to take one of the functions.
    pub(crate) code: &'static Code,
    /// What it is: `the filesystem at / (on sda1)`.
    pub(crate) what: String,
    /// All functions on the way to it.
    pub(crate) functions: Vec<PciAddress>,
}

/// Everything of the kind that this host uses now.
pub(crate) fn uses(root: &Root) -> Result<Vec<Use>, Fault> {
    let mut uses = disks::uses(root)?;
    uses.extend(routes::uses(root)?);
    uses.extend(console::uses(root)?);
    Ok(uses)
}

/// Refusals to take what the host uses: one for each function and reason.
pub(crate) fn refuse(uses: &[Use], plan: &ClaimPlan) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for member in plan.members.iter().filter(|member| plan.changes(member.address)) {
        let held = |code: &'static Code| {
            let of_code = uses.iter().filter(move |used| std::ptr::eq(used.code, code));
            of_code.filter(|used| used.functions.contains(&member.address))
        };
        for code in [&crate::refusals::DISK, &crate::refusals::ROUTE, &crate::refusals::CONSOLE] {
            let mut whats: Vec<_> = held(code).map(|used| used.what.as_str()).collect();
            whats.dedup();
            let driver = member.driver.as_deref().unwrap_or("no driver");
            let function = format!("{} ({driver})", member.address);
            let what = match whats[..] {
                [] => continue,
                [what] => format!("{function} holds {what}"),
                [what, ref more @ ..] => format!("{function} holds {what} and {} more", more.len()),
            };
            refusals.push(Refusal::new(code, what));
        }
    }
    refusals
}
