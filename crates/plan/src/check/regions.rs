//! Every region that concerns the VM, against what the plan puts there.

use std::collections::BTreeMap;

use ringfence_addr::{Gpa, Span};

use super::facts::{Concerned, Facts, REACHED, UNMAPPABLE};
use super::sweep::{common, joined, without};
use super::violation::{Rule, Violation};
use crate::map::Use;
use crate::request::Policy;

pub(super) fn check(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    covered(facts, found);
    unmappable(facts, found);
    identity(facts, found);
    keep_off(facts, found);
    settlements(facts, found);
}

/// A region as a list, for people.
fn told(one: &Concerned<'_>) -> String {
    let source = one.region.sources.first().map_or("unknown source", String::as_str);
    format!("{} {} ({source})", one.region.span, one.region.kind)
}

fn covered(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let mut regions: Vec<_> = facts.concerned.iter().map(|one| (one.pages, told(one))).collect();
    let hole = facts.hypertransport.iter();
    regions.extend(hole.map(|hole| (*hole, "HyperTransport's hole".to_owned())));
    // What registers say, whether or not a table says it as well.
    for device in &facts.devices {
        for stolen in facts.hosts.iter().filter_map(|host| host.stolen.get(&device.address)) {
            let Some(stolen) = stolen.known() else { continue };
            for span in [stolen.page_table, stolen.data].into_iter().flatten() {
                let (first, last) = (span.first().get(), span.last().get());
                if let Some(pages) = Span::new(Gpa::new(first), Gpa::new(last)) {
                    regions.push((pages, format!("{span} (registers of {})", device.address)));
                }
            }
        }
    }
    for usage in [Use::Ram, Use::Window, Use::Hotplug] {
        let entries = facts.used(&[usage]);
        let all: Vec<_> = regions.iter().map(|(pages, _)| *pages).collect();
        if common(&entries, &all).is_empty() {
            continue;
        }
        for (pages, name) in &regions {
            for span in common(&entries, &[*pages]) {
                let text = format!("{usage} at {span} lies on {name}");
                found.push(Violation::new(Rule::Covered, span, text));
            }
        }
    }
}

fn unmappable(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    if common(&facts.backed, &facts.regions(UNMAPPABLE)).is_empty() {
        return;
    }
    for one in facts.concerned.iter().filter(|one| UNMAPPABLE.contains(&one.region.kind)) {
        for span in common(&facts.backed, &[one.pages]) {
            let text = format!("memory at {span} lies on {}", told(one));
            found.push(Violation::new(Rule::Unmappable, span, text));
        }
    }
}

fn identity(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let entries = facts.used(&[Use::Identity]);
    let backed_entries = common(&entries, &facts.backed);
    let kept_off = common(&backed_entries, &facts.plan.settings.keep_off);
    let asked = |one: &&Concerned<'_>| {
        let mut policies = one.devices.iter().map(|device| device.policy);
        REACHED.contains(&one.region.kind)
            && policies.any(|policy| matches!(policy, Some(Policy::Identity | Policy::Overlay)))
    };
    let wanted: Vec<_> = facts.concerned.iter().filter(asked).map(|one| one.pages).collect();
    for span in without(&wanted, &kept_off) {
        let text = format!("{span} was to be the VM's own and kept off, and is not");
        found.push(Violation::new(Rule::Identity, span, text));
    }
    // And nothing is identity that nobody asked for.
    let regions = facts.regions(REACHED);
    for span in without(&entries, &regions) {
        let text = format!("{span} is identity and no region");
        found.push(Violation::new(Rule::Identity, span, text));
    }
}

fn keep_off(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let told_off = &facts.plan.settings.keep_off;
    let reached = facts.regions(REACHED);
    let blocked = facts.blocked();
    let mut must = without(&reached, &blocked);
    must.extend(facts.used(&[Use::Reserved, Use::Identity]));
    for span in without(&must, told_off) {
        let text = format!("the guest is not told to keep off {span}");
        found.push(Violation::new(Rule::KeepOff, span, text));
    }
    let all = facts.set_apart();
    for span in without(told_off, &all) {
        let text =
            format!("the guest is told to keep off {span}, where no region of its devices is");
        found.push(Violation::new(Rule::KeepOff, span, text));
    }
    for span in common(told_off, &facts.used(&[Use::Ram])) {
        let text = format!("the guest is told to keep off {span}, which is its memory");
        found.push(Violation::new(Rule::KeepOff, span, text));
    }
}

fn settlements(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let spans: Vec<_> = facts.plan.settlements.iter().map(|one| one.span).collect();
    let all = facts.set_apart();
    for span in without(&all, &spans) {
        let text = format!("{span} is a region and the plan says nothing of it");
        found.push(Violation::new(Rule::Settlements, span, text));
    }
    for span in without(&spans, &all) {
        let text = format!("the plan speaks of {span}, which is no region of its devices");
        found.push(Violation::new(Rule::Settlements, span, text));
    }
    // Memory in a region is what the plan says became of it; where there is none, there is a hole.
    let mut by_use: BTreeMap<Use, Vec<Span<Gpa>>> = BTreeMap::new();
    for one in &facts.plan.settlements {
        by_use.entry(one.becomes).or_default().push(one.span);
    }
    for (becomes, spans) in by_use {
        let right = facts.used(&[becomes, Use::Hole]);
        for span in without(&joined(&spans), &right) {
            let text = format!("{span} is said to be {becomes} and is not");
            found.push(Violation::new(Rule::Settlements, span, text));
        }
        let truly = joined(&facts.used(&[becomes]));
        for span in spans {
            let above = truly.partition_point(|one| one.last() < span.first());
            if truly.get(above).is_none_or(|one| one.first() > span.last()) {
                let text = format!("{span} is said to be {becomes} and is so nowhere");
                found.push(Violation::new(Rule::Settlements, span, text));
            }
        }
    }
    let held = [Use::Reserved, Use::Identity, Use::Hole];
    for span in without(&facts.used(&held), &all) {
        let text = format!("{span} is set apart and no region of its devices");
        found.push(Violation::new(Rule::Settlements, span, text));
    }
}
