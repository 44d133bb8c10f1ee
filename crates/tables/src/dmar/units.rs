//! Which devices remapping units translate for, looked up quickly: a made-up table has no end of units
//! and regions.

use std::collections::BTreeSet;

use super::{Dmar, ScopeKind, ScopePath};

/// What the units of a table name.
pub(super) struct Units {
    bases: BTreeSet<u64>,
    /// Segments with a unit for every other device.
    whole: BTreeSet<u16>,
    endpoints: BTreeSet<ScopePath>,
    bridges: BTreeSet<ScopePath>,
}

impl Units {
    pub(super) fn of(dmar: &Dmar) -> Self {
        let mut units = Self {
            bases: BTreeSet::new(),
            whole: BTreeSet::new(),
            endpoints: BTreeSet::new(),
            bridges: BTreeSet::new(),
        };
        for (_, drhd) in dmar.drhds() {
            units.bases.insert(drhd.base);
            if drhd.includes_all() {
                units.whole.insert(drhd.segment);
            }
            for scope in &drhd.scopes.list {
                let named = match scope.kind {
                    ScopeKind::Endpoint => &mut units.endpoints,
                    ScopeKind::Bridge => &mut units.bridges,
                    _ => continue,
                };
                named.extend(scope.path(drhd.segment));
            }
        }
        units
    }

    /// Whether a unit has its registers there.
    pub(super) fn has(&self, base: u64) -> bool {
        self.bases.contains(&base)
    }

    /// Whether a unit names the device, or a bridge above it, or every device of its segment.
    pub(super) fn has_for(&self, path: &ScopePath) -> bool {
        if self.whole.contains(&path.segment) || self.endpoints.contains(path) {
            return true;
        }
        let mut above = path.clone();
        while !above.hops.is_empty() {
            if self.bridges.contains(&above) {
                return true;
            }
            above.hops.pop();
        }
        false
    }
}
