//! `ringfence.claims/1`, the shape in which `claim --json` tells claims, and the same for people.

use ringfence_device::{ClaimPlan, Strength};
use ringfence_host::{Host, Topology};
use serde::Serialize;

use crate::assessment::Assessment;

use super::{ClaimState, Lock};

/// The name of the shape.
pub(crate) const SCHEMA: &str = "ringfence.claims/1";

/// What `claim --json` prints.
#[derive(Serialize)]
pub(crate) struct Answer<'a> {
    pub(crate) schema: &'static str,
    pub(crate) claims: &'a [Told],
}

/// A claim as it is told.
#[derive(Serialize)]
pub(crate) struct Told {
    pub(crate) name: String,
    pub(crate) functions: Vec<ToldFunction>,
    pub(crate) steps: Vec<String>,
    pub(crate) breaches: Vec<String>,
    pub(crate) refusals: Vec<String>,
    /// None for a claim that is not made.
    #[serde(flatten)]
    pub(crate) lock: TheirLock,
}

/// How a claim is locked, as it is told.
#[derive(Serialize)]
pub(crate) struct TheirLock {
    pub(crate) lock: Lock,
    pub(crate) wanted: Strength,
    pub(crate) by: Option<u32>,
    pub(crate) reason: Option<String>,
    pub(crate) events: u64,
}

#[derive(Serialize)]
pub(crate) struct ToldFunction {
    pub(crate) address: String,
    place: String,
    driver_before: Option<String>,
    driver: Option<String>,
    /// What a rehearsal found; none of a claim that stands.
    assessment: Option<Assessment>,
}

impl From<&ClaimState> for Told {
    fn from(state: &ClaimState) -> Self {
        Self {
            name: state.claim.name.clone(),
            breaches: state.breaches.clone(),
            ..Self::planned(&state.claim.plan, TheirLock::from(state), Vec::new())
        }
    }
}

impl From<&ClaimState> for TheirLock {
    fn from(state: &ClaimState) -> Self {
        Self {
            lock: state.lock,
            wanted: state.claim.strength,
            by: state.by,
            reason: state.reason.clone(),
            events: state.events,
        }
    }
}

impl TheirLock {
    /// That of a claim which is not made.
    pub(crate) fn none(wanted: Strength) -> Self {
        Self { lock: Lock::Neither, wanted, by: None, reason: None, events: 0 }
    }

    /// In a few words: "held by 812".
    pub(crate) fn words(&self) -> String {
        let word = match self.lock {
            Lock::Held => "held",
            Lock::Watched => "watched",
            Lock::Neither => "neither held nor watched",
        };
        let by = self.by.map_or_else(String::new, |by| format!(" by {by}"));
        let why = self.reason.as_ref().map_or_else(String::new, |why| format!(", not held: {why}"));
        format!("{word}{by}{why}")
    }

    /// What follows from it for whoever made the claim.
    pub(crate) fn meaning(&self) -> &'static str {
        match self.lock {
            Lock::Held => {
                "the kernel turns down other drivers, and EBUSY is what a VMM gets that opens the \
                 group itself (claim --watched leaves it to one)"
            }
            Lock::Watched => "overrides keep other drivers away, and what comes in is reported",
            Lock::Neither => {
                "overrides keep other drivers away, and nobody looks: ringfence serve does not run"
            }
        }
    }
}

impl Told {
    /// What a plan would do, and what speaks against it.
    pub(crate) fn planned(plan: &ClaimPlan, lock: TheirLock, refusals: Vec<String>) -> Self {
        let functions = plan.members.iter().map(|member| ToldFunction {
            address: member.address.to_string(),
            place: member.place.to_string(),
            driver_before: member.driver.clone(),
            driver: plan.driver_after(member).map(str::to_string),
            assessment: None,
        });
        Self {
            name: String::new(),
            functions: functions.collect(),
            steps: plan.steps.iter().map(ToString::to_string).collect(),
            breaches: Vec::new(),
            refusals,
            lock,
        }
    }

    /// The same with what stands between each function and a VM, as the host is now.
    pub(crate) fn assessed(mut self, host: &Host) -> Self {
        let topology = Topology::of(host);
        for function in &mut self.functions {
            let address = function.address.parse().ok();
            function.assessment =
                address.and_then(|address| Assessment::of(host, &topology, address));
        }
        self
    }

    /// What was assessed, for people.
    pub(crate) fn assessment_lines(&self) -> String {
        let all = self.functions.iter().filter_map(|function| function.assessment.as_ref());
        all.map(Assessment::lines).collect()
    }

    /// One function a line.
    pub(crate) fn lines(&self) -> String {
        let name = |driver: &Option<String>| driver.clone().unwrap_or("no driver".to_string());
        let line = |function: &ToldFunction| {
            let ToldFunction { address, driver, driver_before, .. } = function;
            let now = name(driver);
            if driver == driver_before {
                format!("{address}  {now}, as before\n")
            } else {
                format!("{address}  {now}, before {}\n", name(driver_before))
            }
        };
        self.functions.iter().map(line).collect()
    }
}
