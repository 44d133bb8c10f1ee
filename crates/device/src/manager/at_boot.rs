//! What a boot makes of persisted claims: functions kept from their drivers early, then the claims.

use std::fs::File;

use ringfence_addr::PciAddress;
use ringfence_refusal::{Failure, Fault};

use super::{Claim, Manager, after, holds};
use crate::member::survey;
use crate::persist::{Persisted, persisted};
use crate::plan::{ClaimPlan, Step};

impl Manager<'_> {
    /// Makes a persisted claim again; refuses if any of its functions is missing or another. What the
    /// early hook kept for a claim that is refused is given back.
    pub fn claim_persisted(&self, persisted: &Persisted) -> Result<Claim, Failure> {
        let functions = persisted.resolve(&self.root)?;
        let plan = |members| persisted.plan(members);
        self.claim_as(&functions, plan).map_err(|failure| {
            let given_back = survey(&self.root, &functions).and_then(|now| self.unhook(&plan(now)));
            match given_back {
                Ok(()) => failure,
                Err(left) => after(&failure, left),
            }
        })
    }

    /// Brings a plan's functions back to before it, unless they are in some claim.
    fn unhook(&self, plan: &ClaimPlan) -> Result<(), Failure> {
        // Nobody claims any of them meanwhile.
        let locked = self.store.lock()?;
        let all = locked.all()?;
        if plan.members.iter().any(|member| all.iter().any(|kept| holds(kept, member.address))) {
            return Ok(());
        }
        let folder = self.store.folder();
        let lock = File::open(folder)
            .map_err(|error| Fault::new("open", folder.display().to_string(), error))?;
        self.bring_back(&lock, plan, plan.steps.len())
    }

    /// Keeps the functions of all persisted claims from all drivers but those the claims name: the
    /// early hook, before any driver is loaded. All at once, since a driver that is loaded for one
    /// function takes every other of its kind. Nothing is done for a claim that does not find its
    /// functions as they were; making the claims says so. Nor is anything once claims have been made
    /// in this boot: from then on they alone decide. Tells the functions it kept.
    pub fn keep_at_boot(&self) -> Result<Vec<PciAddress>, Failure> {
        let mut kept = Vec::new();
        if self.store.folder().exists() {
            return Ok(kept);
        }
        for claim in persisted(&self.root)?.into_values().flatten() {
            let keeps = match claim.keeps(&self.root) {
                Err(Failure::Refused(_)) => continue,
                keeps => keeps?,
            };
            for (function, driver) in keeps {
                let step = Step::Override { function, to: Some(driver.to_string()) };
                // There is no claim yet whose lock the write could hold.
                let lock = File::open(self.root.function(function));
                let lock = lock.map_err(|error| Fault::new("open", function.to_string(), error))?;
                self.carrier(&lock).carry_out(&step)?;
                kept.push(function);
            }
        }
        Ok(kept)
    }
}
