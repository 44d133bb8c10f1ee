//! What can be addressed and mapped at all.

use ringfence_addr::{Gpa, Span};
use ringfence_host::Fact;

use super::facts::Facts;
use super::sweep::{common, without};
use super::violation::{Rule, Violation};
use crate::case::Case;
use crate::map::Use;

/// QEMU takes no fewer bits for a processor with 64-bit addresses.
const BITS_LEAST: u8 = 32;

pub(super) fn check(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    width(facts, found);
    ranges(facts, found);
}

/// The fewest bits that anybody named translates or wants, if anybody is.
fn fewest(facts: &Facts<'_>) -> Option<u8> {
    let translated = facts.hosts.iter().filter_map(|host| host.address_bits.known().copied());
    translated.chain(facts.request.address_bits).min()
}

fn width(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let told = facts.plan.settings.address_bits;
    let fewest = fewest(facts);
    if fewest.is_some_and(|bits| told > bits.max(BITS_LEAST)) || told > 52 {
        let text = format!("guest addresses have {told} bits, {fewest:?} can be had");
        found.push(Violation::new(Rule::Width, None, text));
    }
    let bits = fewest.unwrap_or(told).min(told).min(63);
    let beyond = Span::new(Gpa::new(1 << bits), Gpa::new(u64::MAX));
    let beyond: Vec<_> = beyond.into_iter().collect();
    let mut reached = facts.backed.clone();
    reached.extend(facts.used(&[Use::Hotplug]));
    for span in common(&reached, &beyond) {
        let text = format!("memory at {span} does not lie within {bits} bits of address");
        found.push(Violation::new(Rule::Width, span, text));
    }
    let unknown = facts.hosts.iter().any(|host| matches!(host.address_bits, Fact::Unknown(_)));
    if unknown && !facts.plan.risks.iter().any(|risk| risk.case == Case::H) {
        let text = "how many bits are translated is not known, and no risk says so".to_owned();
        found.push(Violation::new(Rule::Unsaid, None, text));
    }
}

fn ranges(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let blocked = facts.blocked();
    let everything: Vec<_> = Span::new(Gpa::new(0), Gpa::new(u64::MAX)).into_iter().collect();
    let allowed = without(&everything, &blocked);
    let mut mapped = facts.backed.clone();
    mapped.extend(facts.used(&[Use::Hotplug]));
    for piece in mapped {
        let whole =
            |range: &Span<Gpa>| range.first() <= piece.first() && piece.last() <= range.last();
        if !allowed.iter().any(whole) {
            let text = format!("memory at {piece} is not in one range that can be mapped");
            found.push(Violation::new(Rule::Range, piece, text));
        }
    }
    let hole: Vec<_> = facts.hypertransport.into_iter().collect();
    for span in common(&facts.backed, &hole) {
        let text = format!("memory at {span} lies in HyperTransport's hole");
        found.push(Violation::new(Rule::HyperTransport, span, text));
    }
}
