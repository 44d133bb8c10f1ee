//! What is known of a holder: its place in owners' target lists, its bus addresses, how it is.

use std::collections::BTreeMap;

use ringfence_addr::{Gpa, Rights, SpanMap};
use ringfence_refusal::Refusal;

use crate::claim::Claim;
use crate::id::Owner;
use crate::refusals::{NOT_GRANTED, RIGHTS};
use crate::space::Space;

pub(crate) struct HolderRecord {
    pub(crate) name: String,
    pub(crate) owner: Owner,
    /// What it may map, and has mapped: its place in the owners' target lists.
    pub(crate) targets: BTreeMap<Owner, Target>,
    pub(crate) space: Option<Space>,
    pub(crate) is_fenced: bool,
    /// It was to be fenced or cleared, and that failed: it may be tried again.
    pub(crate) is_out_of_reach: bool,
    /// How many mappings it has, in whatever phase.
    pub(crate) mappings: u64,
}

/// What one holder may reach of one owner.
#[derive(Default)]
pub(crate) struct Target {
    pub(crate) granted: SpanMap<Gpa, Rights>,
    pub(crate) quota_frames: Option<u64>,
    pub(crate) mapped_frames: u64,
}

impl HolderRecord {
    /// Refuses what is not all granted, with the rights that are claimed.
    pub(crate) fn check_target(
        &self,
        target: Option<&Target>,
        claim: Claim<Gpa>,
    ) -> Result<(), Refusal> {
        // Nearly every claim lies within one grant; only one that does not pays for the walk.
        let within = target.and_then(|target| target.granted.get(claim.span().first()));
        if let Some((span, rights)) = within
            && span.encloses(&claim.span())
            && rights.allows(claim.rights())
        {
            return Ok(());
        }
        let nothing = SpanMap::new();
        let granted = target.map_or(&nothing, |target| &target.granted);
        if let Some(gap) = granted.gaps(claim.span()).next() {
            let detail = format!(
                "{} claims {}, of which {gap} was never granted to it",
                self.name,
                claim.span()
            );
            return Err(Refusal::new(&NOT_GRANTED, detail));
        }
        for (span, rights) in granted.overlapping(claim.span()) {
            if !rights.allows(claim.rights()) {
                let detail = format!(
                    "{} claims {} {}, but was granted {span} {rights}",
                    self.name,
                    claim.span(),
                    claim.rights()
                );
                return Err(Refusal::new(&RIGHTS, detail));
            }
        }
        Ok(())
    }
}
