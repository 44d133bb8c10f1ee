//! Keeping claims locked: what the host service does for as long as it runs.
//!
//! At each look the claims that stand are read again, whoever made or released them; those that are
//! to be held are held if they can be, and what is not as it was claimed is told once, and once more
//! when it is as it was. Nothing is lost with a keeper but the holding: the claims are in journals.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::PciAddress;
use ringfence_refusal::{Failure, Fault};

use crate::breach::{Breach, breaches_beside, without_group};
use crate::claim::Claim;
use crate::event::{Event, What};
use crate::hold::Hold;
use crate::manager::{Manager, told};
use crate::refusals;
use crate::root::Root;
use crate::strength::Strength;

/// Keeps the claims of one host locked.
#[derive(Debug, Default)]
pub struct Keeper {
    kept: BTreeMap<String, Kept>,
    /// Claims that are being changed by whoever asked for it: they are left alone meanwhile.
    aside: BTreeSet<String>,
    /// Why the claims could not be listed at the last look.
    trouble: Option<String>,
}

/// A claim that is kept.
#[derive(Debug)]
pub struct Kept {
    claim: Claim,
    hold: Option<Hold>,
    not_held: Option<String>,
    not_seen: Option<String>,
    breaches: Vec<Breach>,
    events: u64,
}

impl Kept {
    fn new(claim: Claim) -> Self {
        Self { claim, hold: None, not_held: None, not_seen: None, breaches: Vec::new(), events: 0 }
    }

    /// The claim.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// What holds it, if it is held.
    pub(crate) fn held(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// How it is locked now, whatever is wanted.
    pub fn strength(&self) -> Strength {
        if self.hold.is_some() { Strength::Held } else { Strength::Watched }
    }

    /// Why it is not held, or not even seen, though it is to be.
    pub fn reason(&self) -> Option<&str> {
        self.not_seen.as_deref().or(self.not_held.as_deref())
    }

    /// What is not as it was claimed.
    pub fn breaches(&self) -> &[Breach] {
        &self.breaches
    }

    /// How many breaches were seen to begin.
    pub fn events(&self) -> u64 {
        self.events
    }
}

impl Keeper {
    /// The claims that are kept, as they were at the last look.
    pub fn kept(&self) -> impl Iterator<Item = &Kept> {
        self.kept.values()
    }

    /// Looks at all claims, holds what is to be held, and tells what changed.
    pub fn look(&mut self, manager: &Manager<'_>) -> Vec<Event> {
        let mut events = Vec::new();
        self.follow(manager, &mut events);
        for (name, kept) in &mut self.kept {
            if self.aside.contains(name) {
                continue;
            }
            let what = match lock(kept, manager) {
                Ok(what) => what,
                // Nothing of it is believed any more; it is read again at the next look.
                Err(fault) => {
                    told_anew(&mut kept.not_held, &told(&fault.into())).map(What::NotHeld)
                }
            };
            events.extend(what.map(|what| Event::new(name, what)));
        }
        self.see(manager, &mut events);
        events
    }

    /// Takes in what came and drops what was released.
    fn follow(&mut self, manager: &Manager<'_>, events: &mut Vec<Event>) {
        let standing = match manager.claims_in_use() {
            Ok(standing) => standing,
            Err(failure) => {
                let trouble = told_anew(&mut self.trouble, &told(&failure));
                events.extend(trouble.map(|why| Event::of_all(What::NotListed(why))));
                return;
            }
        };
        self.trouble = None;
        let names: BTreeSet<_> = standing.iter().map(|(claim, _)| claim.name.clone()).collect();
        let aside = &self.aside;
        self.kept.retain(|name, _| {
            let stays = names.contains(name) || aside.contains(name);
            if !stays {
                events.push(Event::new(name, What::Released));
            }
            stays
        });
        for (claim, is_in_use) in standing {
            match self.kept.get_mut(&claim.name) {
                Some(kept) if kept.claim.plan == claim.plan => kept.claim = claim,
                // Released and claimed again between two looks.
                Some(kept) => *kept = Kept::new(claim),
                // Its maker has yet to let go of it.
                None if is_in_use || self.aside.contains(&claim.name) => {}
                None => drop(self.kept.insert(claim.name.clone(), Kept::new(claim))),
            }
        }
    }

    /// Reads what is not as it was claimed.
    fn see(&mut self, manager: &Manager<'_>, events: &mut Vec<Event>) {
        let root = manager.root();
        let without_group = without_group(root);
        let mut seen = BTreeMap::new();
        let mut is_any_doubtful = false;
        for (name, kept) in self.kept.iter().filter(|(name, _)| !self.aside.contains(*name)) {
            let found = match &without_group {
                Ok(without) => read(root, &kept.claim, without),
                Err(fault) => Err(told_fault(fault)),
            };
            is_any_doubtful |=
                kept.hold.is_none() && found.as_ref().is_ok_and(|found| *found != kept.breaches);
            seen.insert(name.clone(), found);
        }
        if is_any_doubtful {
            // A claim that is being released looks like one that was broken into.
            let standing = manager.claims_in_use();
            let is_sure = |name: &String| match &standing {
                Ok(standing) => {
                    standing.iter().any(|(claim, is_in_use)| claim.name == *name && !is_in_use)
                }
                // A false alarm is better than none.
                Err(_) => true,
            };
            let kept = &self.kept;
            seen.retain(|name, _| {
                is_sure(name) || kept.get(name).is_some_and(|kept| kept.hold.is_some())
            });
        }
        for (name, found) in seen {
            if let Some(kept) = self.kept.get_mut(&name) {
                note(&name, kept, found, events);
            }
        }
    }

    /// Lets go of the claim that `function` is in and leaves it alone until [`Keeper::resume`]:
    /// its journal is anybody's meanwhile. The name of the claim, if it is kept here.
    pub fn set_aside(&mut self, function: PciAddress) -> Option<String> {
        let found =
            self.kept.iter_mut().find(|(_, kept)| kept.claim.plan.member(function).is_some());
        let (name, kept) = found?;
        kept.hold = None;
        self.aside.insert(name.clone());
        Some(name.clone())
    }

    /// Keeps a claim again, if it is still there at the next look.
    pub fn resume(&mut self, name: &str) {
        self.aside.remove(name);
    }
}

/// Holds a claim that is to be held and can be, and lets go of one that is not.
fn lock(kept: &mut Kept, manager: &Manager<'_>) -> Result<Option<What>, Fault> {
    if let Some(hold) = &kept.hold {
        let is_wanted = kept.claim.strength == Strength::Held;
        if is_wanted && hold.is_good(manager.root())? {
            return Ok(None);
        }
        kept.hold = None;
    }
    if kept.claim.strength == Strength::Watched {
        kept.not_held = None;
        return Ok(None);
    }
    let Some(member) = kept.claim.plan.members.first() else { return Ok(None) };
    match manager.hold(member.address) {
        Ok(hold) => {
            kept.hold = Some(hold);
            kept.not_held = None;
            Ok(Some(What::Held))
        }
        Err(failure) if is_passing(&failure) => Ok(None),
        Err(failure) => Ok(told_anew(&mut kept.not_held, &told(&failure)).map(What::NotHeld)),
    }
}

/// Whether somebody is just changing the claim: what it comes to is seen at the next look.
fn is_passing(failure: &Failure) -> bool {
    let passing = [&refusals::IN_WORK, &refusals::NOT_CLAIMED, &refusals::INTERRUPTED];
    matches!(failure, Failure::Refused(refusal) if passing.contains(&refusal.code()))
}

fn read(root: &Root, claim: &Claim, without_group: &[PciAddress]) -> Result<Vec<Breach>, String> {
    breaches_beside(root, &claim.plan, without_group).map_err(|fault| told_fault(&fault))
}

/// Tells what is new in what was found, and what is no more.
fn note(name: &str, kept: &mut Kept, found: Result<Vec<Breach>, String>, events: &mut Vec<Event>) {
    let found = match found {
        Ok(found) => found,
        Err(why) => {
            let why = told_anew(&mut kept.not_seen, &why);
            events.extend(why.map(|why| Event::new(name, What::NotSeen(why))));
            return;
        }
    };
    kept.not_seen = None;
    for breach in found.iter().filter(|breach| !kept.breaches.contains(breach)) {
        kept.events += 1;
        events.push(Event::new(name, What::Breach(breach.clone())));
    }
    for breach in kept.breaches.iter().filter(|breach| !found.contains(breach)) {
        events.push(Event::new(name, What::Mended(breach.clone())));
    }
    kept.breaches = found;
}

/// Remembers why something is not so; the reason if it is another than before.
fn told_anew(last: &mut Option<String>, why: &str) -> Option<String> {
    (last.as_deref() != Some(why)).then(|| last.insert(why.to_owned()).clone())
}

fn told_fault(fault: &Fault) -> String {
    format!("{fault}: {}", fault.io_error())
}
