//! Windows for backends in the guest's memory.

use super::facts::Facts;
use super::sweep::{common, length, without};
use super::violation::{Rule, Violation};
use crate::map::Use;

const LARGE_PAGE: u64 = 0x20_0000;

pub(super) fn check(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let mut broken = |span, text: String| found.push(Violation::new(Rule::Windows, span, text));
    let (asked, placed) = (&facts.request.windows, &facts.plan.windows);
    if asked.len() != placed.len() {
        broken(None, format!("{} windows for {} devices", placed.len(), asked.len()));
    }
    for (wish, window) in asked.iter().zip(placed) {
        let span = Some(window.span);
        let is_its_own = wish.guest == window.guest && wish.name == window.name;
        if !is_its_own || length(&window.span) != u128::from(wish.bytes.get()) {
            let bytes = wish.bytes;
            broken(span, format!("{} is not the {bytes} bytes of {}", window.span, wish.name));
        }
        if !window.span.first().get().is_multiple_of(LARGE_PAGE) {
            broken(span, format!("{} begins within a large page", window.span));
        }
        for outside in without(&[window.span], &facts.used(&[Use::Ram])) {
            broken(Some(outside), format!("{outside} of a window is no memory of the guest's"));
        }
    }
    for (at, window) in placed.iter().enumerate() {
        for other in &placed[..at] {
            for both in common(&[window.span], &[other.span]) {
                broken(Some(both), format!("{both} is of {} and of {}", window.name, other.name));
            }
        }
    }
}
