//! What differs between two plans, for people.

use std::collections::BTreeSet;

use ringfence_addr::{Gpa, Span, SpanMap};
use ringfence_plan::{GuestRegion, PlacedWindow, Plan, Use};

/// One line for every span whose use differs, and for every setting; none if the two come out the
/// same.
pub(crate) fn difference(before: &Plan, after: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    let (old, new) = (&before.settings, &after.settings);
    let mut setting = |name: &str, before: String, after: String| {
        if before != after {
            lines.push(format!("{name}: {before}, now {after}"));
        }
    };
    setting("memory in bytes", old.memory_bytes.to_string(), new.memory_bytes.to_string());
    let low =
        |bytes: Option<u64>| bytes.map_or("the machine's".to_owned(), |end| format!("{end:#x}"));
    setting("end of low memory", low(old.low_bytes), low(new.low_bytes));
    setting("bits of address", old.address_bits.to_string(), new.address_bits.to_string());
    setting("memory above 4 GiB from", old.high_first.to_string(), new.high_first.to_string());
    let (old, new) = (told(before), told(after));
    lines.extend(old.difference(&new).map(|line| format!("gone: {line}")));
    lines.extend(new.difference(&old).map(|line| format!("new: {line}")));
    for (span, was, is) in spans(before, after) {
        let name = |usage: Option<Use>| usage.map_or("nothing", Use::name);
        lines.push(format!("{span}: {}, now {}", name(was), name(is)));
    }
    lines
}

/// What the guest's IOMMU is told and where its windows are, in a line each.
fn told(plan: &Plan) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    if let Some(told) = &plan.viommu {
        let kind = told.kind;
        lines.insert(format!("{kind} for the guest"));
        for GuestRegion { span, devices, .. } in &told.regions {
            lines.extend(devices.iter().map(|at| format!("{span} told to {kind} for {at}")));
        }
    }
    let window = |window: &PlacedWindow| format!("window of {} at {}", window.name, window.span);
    lines.extend(plan.windows.iter().map(window));
    lines
}

type Differing = (Span<Gpa>, Option<Use>, Option<Use>);

fn spans(before: &Plan, after: &Plan) -> Vec<Differing> {
    let uses = |plan: &Plan| {
        let mut uses = SpanMap::new();
        for entry in &plan.map {
            uses.insert(entry.span, entry.usage);
        }
        uses
    };
    let (old, new) = (uses(before), uses(after));
    let mut differing: SpanMap<Gpa, (Option<Use>, Option<Use>)> = SpanMap::new();
    for (span, was) in old.iter() {
        for gap in new.gaps(span) {
            differing.insert(gap, (Some(*was), None));
        }
        for (other, is) in new.overlapping(span).filter(|(_, is)| *is != was) {
            if let Some(both) = other.intersection(&span) {
                differing.insert(both, (Some(*was), Some(*is)));
            }
        }
    }
    for (span, is) in new.iter() {
        for gap in old.gaps(span) {
            differing.insert(gap, (None, Some(*is)));
        }
    }
    differing.coalesce();
    differing.into_iter().map(|(span, (was, is))| (span, was, is)).collect()
}
