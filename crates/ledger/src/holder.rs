//! What is known of a holder: its place in owners' target lists, its bus addresses, how it is.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::{Gpa, Rights, Span, SpanMap};
use ringfence_refusal::Refusal;

use crate::claim::Claim;
use crate::id::Owner;
use crate::refusals::{NOT_GRANTED, RIGHTS};
use crate::space::Space;

pub(crate) struct HolderRecord {
    pub(crate) name: String,
    pub(crate) owner: Owner,
    /// What it may map, and has mapped: its place in the owners' target lists.
    pub(crate) targets: Targets,
    pub(crate) space: Option<Space>,
    pub(crate) is_fenced: bool,
    /// It was to be fenced or cleared, and that failed: it may be tried again.
    pub(crate) is_out_of_reach: bool,
    /// How often all its bus addresses were ordered to be cleared, or were to be used anew.
    pub(crate) clearing: u64,
    /// Mappings that were reported to be made, perhaps, since the last of those orders: nobody knows
    /// whether they were made before it was carried out, or after. They have to be removed by themselves.
    pub(crate) late: BTreeSet<u32>,
    /// How many mappings it has, in whatever phase.
    pub(crate) mappings: u64,
}

/// What one holder may reach of one owner.
#[derive(Default)]
pub(crate) struct Target {
    pub(crate) granted: Granted,
    pub(crate) quota_frames: Option<u64>,
    pub(crate) mapped_frames: u64,
}

/// What was granted, and the grant that was used last: it is used again, mostly.
#[derive(Default)]
pub(crate) struct Granted {
    all: SpanMap<Gpa, Rights>,
    last: Option<(Span<Gpa>, Rights)>,
}

impl Granted {
    pub(crate) fn insert(&mut self, span: Span<Gpa>, rights: Rights) {
        self.all.insert(span, rights);
        self.last = Some((span, rights));
    }

    pub(crate) fn remove(&mut self, span: Span<Gpa>) {
        self.all.remove(span);
        self.last = None;
    }

    #[inline]
    fn allows(grant: Option<(Span<Gpa>, Rights)>, claim: Claim<Gpa>) -> bool {
        grant.is_some_and(|(span, rights)| {
            span.encloses(&claim.span()) && rights.allows(claim.rights())
        })
    }

    fn get(&self, address: Gpa) -> Option<(Span<Gpa>, Rights)> {
        self.all.get(address).map(|(span, rights)| (span, *rights))
    }
}

/// What a holder may reach, by owner: each has a place that it keeps until it is removed.
#[derive(Default)]
pub(crate) struct Targets {
    list: Vec<Option<(Owner, Target)>>,
    places: BTreeMap<Owner, usize>,
}

impl Targets {
    /// The place of an owner.
    #[inline]
    fn place(&self, owner: Owner) -> Option<usize> {
        match self.list.first() {
            // Most holders reach the memory of one owner.
            Some(Some((first, _))) if *first == owner => Some(0),
            _ => self.places.get(&owner).copied(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, owner: Owner) -> Option<&Target> {
        self.list.get(self.place(owner)?)?.as_ref().map(|(_, target)| target)
    }

    /// The same to be changed, with its place.
    #[inline]
    pub(crate) fn get_mut(&mut self, owner: Owner) -> Option<(usize, &mut Target)> {
        let place = self.place(owner)?;
        self.list.get_mut(place)?.as_mut().map(|(_, target)| (place, target))
    }

    /// Whose memory has a place.
    #[inline]
    pub(crate) fn owner(&self, place: usize) -> Option<Owner> {
        self.list.get(place)?.as_ref().map(|(owner, _)| *owner)
    }

    /// The target of an owner, made if there is none.
    pub(crate) fn of(&mut self, owner: Owner) -> &mut Target {
        let place = self.place(owner).unwrap_or_else(|| {
            let hole = self.list.iter().position(Option::is_none);
            let place = hole.unwrap_or(self.list.len());
            if hole.is_none() {
                self.list.push(None);
            }
            self.places.insert(owner, place);
            place
        });
        &mut self.list[place].get_or_insert_with(|| (owner, Target::default())).1
    }

    /// Takes one off. Nothing of it is mapped.
    pub(crate) fn remove(&mut self, owner: Owner) {
        if let Some(place) = self.places.remove(&owner) {
            self.list[place] = None;
        }
    }
}

impl HolderRecord {
    pub(crate) fn new(name: String, owner: Owner) -> Self {
        let mut targets = Targets::default();
        targets.of(owner);
        Self {
            name,
            owner,
            targets,
            space: None,
            is_fenced: false,
            is_out_of_reach: false,
            clearing: 0,
            late: BTreeSet::new(),
            mappings: 0,
        }
    }

    /// Nobody knows what became of a mapping. If no clearing that was ordered undoes it, there may be another.
    pub(crate) fn quarantine(&mut self, number: u32) {
        self.is_out_of_reach |= self.late.contains(&number);
    }

    /// One mapping less, of so many frames of an owner's.
    #[inline]
    pub(crate) fn forget(&mut self, number: u32, owner: Owner, frames: u64) {
        self.mappings -= 1;
        if !self.late.is_empty() {
            self.late.remove(&number);
        }
        if let Some((_, target)) = self.targets.get_mut(owner) {
            target.mapped_frames -= frames;
        }
    }

    /// Refuses what is not all granted, with the rights that are claimed.
    ///
    /// Invariant `I24`: nobody has a right that was not asked for, or not granted.
    #[inline]
    pub(crate) fn check_target(
        &self,
        target: Option<&Target>,
        claim: Claim<Gpa>,
    ) -> Result<(), Refusal> {
        // Nearly every claim lies within one grant; only one that does not pays for the walk.
        let granted = target.map(|target| &target.granted);
        if granted.is_some_and(|granted| {
            Granted::allows(granted.last, claim)
                || Granted::allows(granted.get(claim.span().first()), claim)
        }) {
            return Ok(());
        }
        self.check_target_parts(granted, claim)
    }

    #[cold]
    fn check_target_parts(
        &self,
        granted: Option<&Granted>,
        claim: Claim<Gpa>,
    ) -> Result<(), Refusal> {
        let nothing = SpanMap::new();
        let granted = granted.map_or(&nothing, |granted| &granted.all);
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
