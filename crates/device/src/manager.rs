//! Taking whole groups and giving them back.
//!
//! ```text
//!  claim:   Begin, Doing 0, Doing 1, …, Claimed       each on the disk before what it announces
//!  fails:   …, Undoing, the steps begun undone, and the journal is gone
//!  release: …, Undoing, all undone, and the journal is gone
//!  crash:   recover reads the journal: Claimed stands, anything else is undone
//! ```
//!
//! **Invariant:** without a journal everything is as it was before; with `Claimed` at its end
//! everything is as planned. Nothing in between lasts past a recovery.

mod at_boot;

use std::fs::File;

use ringfence_addr::PciAddress;
use ringfence_refusal::{Failure, Refusal};

use crate::carry::Carrier;
use crate::claim::Claim;
use crate::examine::examine_plan;
use crate::hold::Hold;
use crate::journal::{Journal, Phase, Record, Story};
use crate::member::{Member, identity_of, survey};
use crate::plan::{ClaimPlan, Step};
use crate::refusals;
use crate::root::{Root, read};
use crate::store::{Kept, Store};
use crate::strength::Strength;
use crate::write::Writer;

/// Called with each record when it is on the disk, before what it announces is begun.
pub type Observer<'a> = dyn Fn(&Record) + 'a;

/// Takes groups of one host, and gives them back.
pub struct Manager<'a> {
    root: Root,
    writer: &'a dyn Writer,
    store: Store,
    strength: Strength,
    observer: Option<&'a Observer<'a>>,
}

/// What recovery made of one claim.
#[derive(Debug)]
pub enum Recovered {
    /// It stands.
    Stands(Claim),
    /// It was interrupted; everything is as it was before.
    Undone(Claim),
    /// It was of an earlier boot, or nothing had been begun: there was nothing to undo.
    Forgotten(String),
    /// Somebody works on it or holds it.
    InWork(String),
    /// It was interrupted and could not be undone, or not all of it: the journal stays.
    Failed(String, Failure),
}

impl<'a> Manager<'a> {
    /// Takes groups of the host at `root` through `writer`, and keeps journals in `store`.
    pub fn new(root: Root, writer: &'a dyn Writer, store: Store) -> Self {
        Self { root, writer, store, strength: Strength::default(), observer: None }
    }

    /// The same, whose claims are to be locked so.
    #[must_use]
    pub fn locking(self, strength: Strength) -> Self {
        Self { strength, ..self }
    }

    /// The same, with someone who is told of each record.
    #[must_use]
    pub fn observed_by(self, observer: &'a Observer<'a>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Takes all of `functions`, which together are whole groups, or none of them.
    pub fn claim(&self, functions: &[PciAddress]) -> Result<Claim, Failure> {
        self.claim_as(functions, ClaimPlan::new)
    }

    fn claim_as(
        &self,
        functions: &[PciAddress],
        plan: impl FnOnce(Vec<Member>) -> ClaimPlan,
    ) -> Result<Claim, Failure> {
        let locked = self.store.lock()?;
        refuse_claimed(&locked.all()?, functions)?;
        let examination = examine_plan(&self.root, plan(survey(&self.root, functions)?))?;
        if let Some(refusal) = examination.refusals.into_iter().next() {
            return Err(refusal.into());
        }
        let plan = examination.plan;
        let Some(first) = plan.members.first() else {
            return Err(Refusal::new(&refusals::PARTIAL, "no function was named").into());
        };
        let mut journal = locked.make(&first.place)?;
        let name = crate::store::name_of(&first.place);
        let strength = self.strength;
        let begin = Record::Begin { boot: self.boot()?, plan: plan.clone(), strength };
        if let Err(fault) = self.add(&mut journal, &begin) {
            locked.remove(&journal)?;
            return Err(fault);
        }
        drop(locked);
        let mut begun = 0;
        match self.take(&mut journal, &plan, &mut begun) {
            Ok(()) => Ok(Claim { name, plan, strength }),
            Err(failure) => Err(self.give_up(&mut journal, &plan, begun, failure)),
        }
    }

    fn take(
        &self,
        journal: &mut Journal,
        plan: &ClaimPlan,
        begun: &mut usize,
    ) -> Result<(), Failure> {
        for (number, step) in plan.steps.iter().enumerate() {
            self.add(journal, &Record::Doing { step: number })?;
            *begun = number + 1;
            self.carrier(journal.file()).carry_out(step)?;
        }
        // A driver that came in by the front door meanwhile is seen here at the latest.
        for member in &plan.members {
            expect_taken(&self.root, plan, member)?;
        }
        self.add(journal, &Record::Claimed)
    }

    /// Undoes what was begun of a claim that failed; the failure is why, and what of it is left.
    fn give_up(
        &self,
        journal: &mut Journal,
        plan: &ClaimPlan,
        begun: usize,
        failure: Failure,
    ) -> Failure {
        // Undoing needs no record of it: a journal without `Claimed` at its end is undone anyway.
        let _ = self.add(journal, &Record::Undoing { why: failure.to_string() });
        match self.undo(journal, plan, begun) {
            Ok(()) => failure,
            Err(left) => after(&failure, left),
        }
    }

    /// Gives back the claim that `function` is in.
    pub fn release(&self, function: PciAddress) -> Result<Claim, Failure> {
        let locked = self.store.lock()?;
        let kept = locked.all()?.into_iter().find(|kept| holds(kept, function));
        drop(locked);
        let Some(Kept { name, journal, story: Some(story) }) = kept else {
            return Err(Refusal::new(&refusals::NOT_CLAIMED, function.to_string()).into());
        };
        let Some(mut journal) = journal else {
            let what = format!("{function} is in claim {name}");
            return Err(Refusal::new(&refusals::IN_WORK, what).into());
        };
        self.add(&mut journal, &Record::Undoing { why: "released".to_string() })?;
        self.undo(&mut journal, &story.plan, begun(&story))?;
        Ok(Claim { name, plan: story.plan, strength: story.strength })
    }

    /// Holds the claim that `function` is in: until the answer is dropped, the kernel turns down
    /// other drivers, and nobody can release the claim.
    pub fn hold(&self, function: PciAddress) -> Result<Hold, Failure> {
        let (claim, journal) = self.standing(function)?;
        Hold::open(&self.root, claim, journal)
    }

    /// Writes down how the claim that `function` is in is to be locked from now on.
    pub fn lock(&self, function: PciAddress, strength: Strength) -> Result<Claim, Failure> {
        let (claim, mut journal) = self.standing(function)?;
        if claim.strength != strength {
            self.add(&mut journal, &Record::Lock { strength })?;
        }
        Ok(Claim { strength, ..claim })
    }

    /// The claim that `function` is in, which stands and which nobody works on or holds.
    fn standing(&self, function: PciAddress) -> Result<(Claim, Journal), Failure> {
        let kept = self.store.lock()?.all()?.into_iter().find(|kept| holds(kept, function));
        let Some(Kept { name, journal, story: Some(story) }) = kept else {
            return Err(Refusal::new(&refusals::NOT_CLAIMED, function.to_string()).into());
        };
        let in_claim = || format!("{function} is in claim {name}");
        if story.phase != Phase::Claimed {
            return Err(Refusal::new(&refusals::INTERRUPTED, in_claim()).into());
        }
        let Some(journal) = journal else {
            return Err(Refusal::new(&refusals::IN_WORK, in_claim()).into());
        };
        Ok((Claim { name, plan: story.plan, strength: story.strength }, journal))
    }

    /// Brings every claim that was interrupted back to before it, and leaves those that stand.
    pub fn recover(&self) -> Result<Vec<Recovered>, Failure> {
        let locked = self.store.lock()?;
        let all = locked.all()?;
        drop(locked);
        let boot = self.boot()?;
        all.into_iter().map(|kept| self.recover_one(kept, &boot)).collect()
    }

    fn recover_one(&self, kept: Kept, boot: &str) -> Result<Recovered, Failure> {
        let Kept { name, journal, story } = kept;
        let Some(mut journal) = journal else { return Ok(Recovered::InWork(name)) };
        let Some(story) = story.filter(|story| story.boot == boot) else {
            self.store.lock()?.remove(&journal)?;
            return Ok(Recovered::Forgotten(name));
        };
        let begun = begun(&story);
        let strength = story.strength;
        let claim = Claim { name: name.clone(), plan: story.plan, strength };
        if story.phase == Phase::Claimed {
            return Ok(Recovered::Stands(claim));
        }
        self.add(&mut journal, &Record::Undoing { why: "interrupted".to_string() })?;
        Ok(match self.undo(&mut journal, &claim.plan, begun) {
            Ok(()) => Recovered::Undone(claim),
            Err(failure) => Recovered::Failed(name, failure),
        })
    }

    /// The claims that stand.
    pub fn claims(&self) -> Result<Vec<Claim>, Failure> {
        Ok(self.claims_in_use()?.into_iter().map(|(claim, _)| claim).collect())
    }

    /// The claims that stand, each with whether somebody works on it or holds it.
    pub(crate) fn claims_in_use(&self) -> Result<Vec<(Claim, bool)>, Failure> {
        let all = self.store.lock()?.all()?;
        let stands = |kept: Kept| {
            let story = kept.story.filter(|story| story.phase == Phase::Claimed)?;
            let claim = Claim { name: kept.name, plan: story.plan, strength: story.strength };
            Some((claim, kept.journal.is_none()))
        };
        Ok(all.into_iter().filter_map(stands).collect())
    }

    /// Undoes the first `begun` steps, and forgets the claim if that worked for every function.
    fn undo(&self, journal: &mut Journal, plan: &ClaimPlan, begun: usize) -> Result<(), Failure> {
        self.bring_back(journal.file(), plan, begun)?;
        self.store.lock()?.remove(journal)?;
        Ok(())
    }

    /// Undoes the first `begun` steps for as many functions as that works for; refuses with the rest.
    fn bring_back(&self, lock: &File, plan: &ClaimPlan, begun: usize) -> Result<(), Failure> {
        let undo = plan.undo(begun);
        let mut left = Vec::new();
        for member in plan.members.iter().rev() {
            let steps = undo.iter().filter(|step| step.function() == member.address);
            // What follows for a function rests on what came before; the others are given back.
            if let Err(what) = self.undo_member(lock, member, steps) {
                left.push(what);
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(&refusals::NOT_RESTORED, left.join("; ")).into())
    }

    /// Gives back one function, or says what of it could not be done.
    fn undo_member<'b>(
        &self,
        lock: &File,
        member: &Member,
        steps: impl Iterator<Item = &'b Step>,
    ) -> Result<(), String> {
        let cannot =
            |what: &dyn std::fmt::Display, failure| format!("cannot {what}: {}", told(&failure));
        let look = || format!("look at {}", member.address);
        let is_done = self.is_as_before(member).map_err(|fault| cannot(&look(), fault))?;
        if is_done {
            return Ok(());
        }
        for step in steps {
            self.carrier(lock).carry_out(step).map_err(|failure| cannot(step, failure))?;
        }
        Ok(())
    }

    /// Whether there is nothing to give back. A function that was unplugged took its driver and its
    /// override with it, and what was plugged in instead was never touched.
    fn is_as_before(&self, member: &Member) -> Result<bool, Failure> {
        let function = member.address;
        if identity_of(&self.root, function)? != Some(member.identity) {
            return Ok(true);
        }
        let is_bound_as_before = self.root.driver_of(function)? == member.driver;
        Ok(is_bound_as_before && self.root.override_of(function)? == member.driver_override)
    }

    fn carrier<'b>(&'b self, lock: &'b File) -> Carrier<'b> {
        Carrier { root: &self.root, writer: self.writer, lock }
    }

    fn add(&self, journal: &mut Journal, record: &Record) -> Result<(), Failure> {
        journal.add(record)?;
        if let Some(observer) = self.observer {
            observer(record);
        }
        Ok(())
    }

    /// What this boot is called. A host that does not say is taken to have booted once.
    fn boot(&self) -> Result<String, Failure> {
        let boot = read(&self.root.join("proc/sys/kernel/random/boot_id"))?;
        Ok(boot.unwrap_or_default())
    }

    /// The host whose groups it takes.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

/// A failure whole, in a line.
pub(crate) fn told(failure: &Failure) -> String {
    match failure {
        Failure::Refused(refusal) => refusal.to_string(),
        Failure::Faulted(fault) => format!("{fault}: {}", fault.io_error()),
    }
}

/// What is left of a claim that failed, and why it failed.
fn after(failure: &Failure, left: Failure) -> Failure {
    match left {
        Failure::Refused(left) => left.within(format!("after {}", told(failure))).into(),
        fault @ Failure::Faulted(_) => fault,
    }
}

/// How many steps of a claim have to be undone.
fn begun(story: &Story) -> usize {
    match story.phase {
        Phase::Begun(begun) | Phase::Undoing(begun) => begun,
        Phase::Claimed => story.plan.steps.len(),
    }
}

fn holds(kept: &Kept, function: PciAddress) -> bool {
    kept.story.as_ref().is_some_and(|story| story.plan.member(function).is_some())
}

/// Refuses functions that are in a claim already, whatever has become of it.
fn refuse_claimed(all: &[Kept], functions: &[PciAddress]) -> Result<(), Refusal> {
    for kept in all {
        let Some(function) = functions.iter().find(|function| holds(kept, **function)) else {
            continue;
        };
        let what = format!("{function} is in claim {}", kept.name);
        let stands = kept.story.as_ref().is_some_and(|story| story.phase == Phase::Claimed);
        let code = match kept.journal {
            _ if stands => &refusals::CLAIMED,
            None => &refusals::IN_WORK,
            Some(_) => &refusals::INTERRUPTED,
        };
        return Err(Refusal::new(code, what));
    }
    Ok(())
}

/// Refuses if a member has a driver that no step gave it.
fn expect_taken(root: &Root, plan: &ClaimPlan, member: &Member) -> Result<(), Failure> {
    let expected = plan.driver_after(member);
    let now = root.driver_of(member.address)?;
    if now.as_deref() == expected {
        return Ok(());
    }
    let name = |driver: Option<&str>| driver.unwrap_or("no driver").to_string();
    let what = format!(
        "{} is bound to {}, not to {}",
        member.address,
        name(now.as_deref()),
        name(expected)
    );
    Err(Refusal::new(&refusals::NOT_BOUND, what).into())
}
