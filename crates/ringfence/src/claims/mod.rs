//! The claims of a host, by whoever keeps them: the host service where it runs, this process where
//! it does not.

mod told;

use ringfence_addr::PciAddress;
use ringfence_device::scrub::Step;
use ringfence_device::{
    Claim, HostWriter, Keeper, Manager, RUN_FOLDER, Root, Store, Strength, breaches,
};
use serde::{Deserialize, Serialize};

use crate::scrubbing::{self, Extent};
use crate::serve::client::Service;
use crate::serve::protocol::Request;

pub(crate) use told::{Answer, SCHEMA, TheirLock, Told};

/// How a claim is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Lock {
    /// The host service keeps its groups open.
    Held,
    /// The host service reports what comes in.
    Watched,
    /// Overrides keep other drivers away, and nobody looks.
    Neither,
}

/// A claim that stands, and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClaimState {
    pub(crate) claim: Claim,
    pub(crate) lock: Lock,
    /// The process that keeps it.
    pub(crate) by: Option<u32>,
    /// Why it is not locked as it is to be.
    pub(crate) reason: Option<String>,
    /// What is not as it was claimed.
    pub(crate) breaches: Vec<String>,
    /// How many breaches were seen to begin.
    pub(crate) events: u64,
}

impl ClaimState {
    /// A claim that nobody keeps.
    pub(crate) fn alone(claim: Claim, breaches: Vec<String>) -> Self {
        Self { claim, lock: Lock::Neither, by: None, reason: None, breaches, events: 0 }
    }
}

/// The claims that a keeper in this process keeps.
pub(crate) fn kept(keeper: &Keeper) -> Vec<ClaimState> {
    let state = |kept: &ringfence_device::Kept| ClaimState {
        claim: kept.claim().clone(),
        lock: match kept.strength() {
            Strength::Held => Lock::Held,
            Strength::Watched => Lock::Watched,
        },
        by: Some(std::process::id()),
        reason: kept.reason().map(str::to_owned),
        breaches: kept.breaches().iter().map(ToString::to_string).collect(),
        events: kept.events(),
    };
    keeper.kept().map(state).collect()
}

/// Where the claims of the host at `root` are kept.
pub(crate) fn store(root: &Root) -> Store {
    Store::new(root.join(RUN_FOLDER.trim_start_matches('/')))
}

/// The claims of a host.
#[derive(Debug)]
pub(crate) enum Claims {
    /// By the host service.
    Served(Service),
    /// By this process, for as long as it runs.
    Alone(Root),
}

impl Claims {
    /// Those of the host at `root`.
    pub(crate) fn of(root: &Root) -> anyhow::Result<Self> {
        Ok(match Service::find(root)? {
            Some(service) => Self::Served(service),
            None => Self::Alone(root.clone()),
        })
    }

    /// Those that stand.
    pub(crate) fn list(&self) -> anyhow::Result<Vec<ClaimState>> {
        match self {
            Self::Served(service) => service.ask(&Request::Status),
            Self::Alone(root) => alone(root, Strength::default(), |manager| {
                let state = |claim: Claim| {
                    let found = breaches(root, &claim.plan)?;
                    let found = found.iter().map(ToString::to_string).collect();
                    Ok(ClaimState::alone(claim, found))
                };
                manager.claims()?.into_iter().map(state).collect()
            }),
        }
    }

    /// Takes `functions`, which are whole groups, to be locked so.
    pub(crate) fn claim(
        &self,
        functions: &[PciAddress],
        strength: Strength,
    ) -> anyhow::Result<ClaimState> {
        match self {
            Self::Served(service) => {
                let functions = functions.iter().map(ToString::to_string).collect();
                service.ask_for_one(&Request::Claim { functions, strength })
            }
            Self::Alone(root) => alone(root, strength, |manager| {
                Ok(ClaimState::alone(manager.claim(functions)?, Vec::new()))
            }),
        }
    }

    /// Has the claim that `function` is in locked another way.
    pub(crate) fn lock(
        &self,
        function: PciAddress,
        strength: Strength,
    ) -> anyhow::Result<ClaimState> {
        match self {
            Self::Served(service) => {
                service.ask_for_one(&Request::Lock { function: function.to_string(), strength })
            }
            Self::Alone(root) => alone(root, strength, |manager| {
                Ok(ClaimState::alone(manager.lock(function, strength)?, Vec::new()))
            }),
        }
    }

    /// Clears the memory that firmware took for `function`, which is claimed; `observer` hears of each
    /// step, where it is done by this process.
    pub(crate) fn scrub(
        &self,
        function: PciAddress,
        extent: Extent,
        observer: &mut dyn FnMut(&Step),
    ) -> anyhow::Result<scrubbing::Told> {
        match self {
            Self::Served(service) => {
                let function = function.to_string();
                service.ask_for_scrub(&Request::Scrub { function, extent })
            }
            Self::Alone(root) => alone(root, Strength::default(), |manager| {
                Ok(scrubbing::scrub(manager, function, extent, observer)?)
            }),
        }
    }

    /// Gives back the claim that `function` is in.
    pub(crate) fn release(&self, function: PciAddress) -> anyhow::Result<ClaimState> {
        match self {
            Self::Served(service) => {
                service.ask_for_one(&Request::Release { function: function.to_string() })
            }
            Self::Alone(root) => alone(root, Strength::default(), |manager| {
                Ok(ClaimState::alone(manager.release(function)?, Vec::new()))
            }),
        }
    }
}

fn alone<T>(
    root: &Root,
    strength: Strength,
    work: impl FnOnce(&Manager<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let writer = HostWriter::default();
    work(&Manager::new(root.clone(), &writer, store(root)).locking(strength))
}
