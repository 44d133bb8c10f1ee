//! The map by itself: its order, its pages, what lies under it, and how much.

use super::facts::Facts;
use super::sweep::{length, total};
use super::violation::{Rule, Violation};
use super::{express, sweep};
use crate::machine::Machine;
use crate::map::Use;

const PAGE: u64 = 0x1000;
/// Memory is added in pages of this size.
const LARGE_PAGE: u64 = 0x20_0000;

pub(super) fn check(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let plan = facts.plan;
    if plan.machine != facts.request.machine {
        let text =
            format!("{} was asked for, the plan is for {}", facts.request.machine, plan.machine);
        found.push(Violation::new(Rule::Machine, None, text));
    }
    for pair in plan.map.windows(2) {
        if pair[0].span.last() >= pair[1].span.first() {
            let text = format!("{} does not lie below {}", pair[0].span, pair[1].span);
            found.push(Violation::new(Rule::Order, pair[1].span, text));
        }
    }
    for entry in &plan.map {
        let (first, last) = (entry.span.first().get(), entry.span.last().get());
        if first % PAGE != 0 || last % PAGE != PAGE - 1 {
            let text = format!("{} ({}) is not whole pages", entry.span, entry.usage);
            found.push(Violation::new(Rule::Pages, entry.span, text));
        }
        let must = matches!(entry.usage, Use::Ram | Use::Reserved | Use::Identity);
        if entry.backed != must {
            let is = if entry.backed { "has" } else { "has no" };
            let text = format!("{} is {} and {is} memory beneath", entry.span, entry.usage);
            found.push(Violation::new(Rule::Backing, entry.span, text));
        }
    }
    sizes(facts, found);
}

fn sizes(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let usable = total(&facts.used(&[Use::Ram]));
    let asked = u128::from(facts.request.memory.get());
    if usable < asked {
        let text = format!("{usable} bytes can be used, {asked} were asked for");
        found.push(Violation::new(Rule::TooLittle, None, text));
    }
    if usable >= asked + u128::from(LARGE_PAGE) && less_would_do(facts) {
        let text = format!("{usable} bytes can be used, {asked} were asked for, and less would do");
        found.push(Violation::new(Rule::TooMuch, None, text));
    }
    // As it is written, not joined: what is counted twice is given twice.
    let entries = facts.plan.map.iter().filter(|entry| entry.backed);
    let backed: u128 = entries.map(|entry| length(&entry.span)).sum();
    let told = facts.plan.settings.memory_bytes;
    if u128::from(told) != backed {
        let text = format!("the VMM is told to give {told} bytes, {backed} lie in the map");
        found.push(Violation::new(Rule::MemoryBytes, None, text));
    }
}

/// Whether one large page less of memory, laid out as the machine does, would still be enough. A
/// machine may have to give more because what it does changes at some size.
fn less_would_do(facts: &Facts<'_>) -> bool {
    if facts.request.machine == Machine::Library {
        return true;
    }
    let Some(less) = facts.plan.settings.memory_bytes.checked_sub(LARGE_PAGE) else { return false };
    let Some(pieces) = express::pieces(facts, less) else { return false };
    total(&sweep::without(&pieces.blocks(), &facts.set_apart()))
        >= u128::from(facts.request.memory.get())
}
