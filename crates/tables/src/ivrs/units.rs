//! Which requesters IOMMUs translate for, looked up quickly: a made-up table has no end of IOMMUs and
//! regions.

use std::collections::{BTreeMap, BTreeSet};

use super::Ivrs;

/// What the IOMMUs of a table say of themselves.
pub(super) struct Units {
    /// By segment, device id and capability.
    iommus: BTreeSet<(u16, u16, u16)>,
    /// Requester ids by segment: spans that neither overlap nor touch, by their first.
    requesters: BTreeMap<u16, BTreeMap<u16, u16>>,
}

impl Units {
    pub(super) fn of(ivrs: &Ivrs) -> Self {
        let mut iommus = BTreeSet::new();
        let mut stated: BTreeMap<u16, Vec<(u16, u16)>> = BTreeMap::new();
        for (_, ivhd) in ivrs.ivhds() {
            iommus.insert((ivhd.segment, ivhd.device, ivhd.capability));
            stated.entry(ivhd.segment).or_default().extend(ivhd.requesters());
        }
        let requesters = stated.into_iter().map(|(segment, spans)| (segment, merged(spans)));
        Self { iommus, requesters: requesters.collect() }
    }

    /// Whether an IOMMU of the segment is this function, with its capability there.
    pub(super) fn has(&self, segment: u16, device: u16, capability: u16) -> bool {
        self.iommus.contains(&(segment, device, capability))
    }

    /// Whether an IOMMU translates for any of these requesters.
    pub(super) fn translates(&self, segment: u16, first: u16, last: u16) -> bool {
        let below =
            self.requesters.get(&segment).and_then(|spans| spans.range(..=last).next_back());
        below.is_some_and(|(_, high)| *high >= first)
    }

    /// The last requester that any IOMMU of the segment names; 0 if none does.
    pub(super) fn last(&self, segment: u16) -> u16 {
        let spans = self.requesters.get(&segment);
        spans.and_then(|spans| spans.values().next_back()).copied().unwrap_or_default()
    }
}

fn merged(mut spans: Vec<(u16, u16)>) -> BTreeMap<u16, u16> {
    spans.sort_unstable();
    let mut merged: BTreeMap<u16, u16> = BTreeMap::new();
    for (first, last) in spans {
        match merged.iter_mut().next_back() {
            Some((_, high)) if first <= high.saturating_add(1) => *high = last.max(*high),
            _ => _ = merged.insert(first, last),
        }
    }
    merged
}
