//! Claims that outlast the host: written down by place and identity, found again after a reboot.
//!
//! A persisted claim names no address and no group number, which shift; it names places
//! ([`Place`]) and what is plugged in there. Found again, every function must be what it was, or
//! nothing is claimed.

mod boot_files;
mod files;

use std::collections::BTreeMap;
use std::io;

use ringfence_addr::PciAddress;
use ringfence_refusal::{Failure, Fault, Refusal};
use serde::{Deserialize, Serialize};

use crate::member::{Identity, Member, identity_of};
use crate::place::Place;
use crate::plan::ClaimPlan;
use crate::refusals;
use crate::root::{Root, entries, read};
use crate::store::name_of;

pub use boot_files::{BootFile, Generator, boot_files};
pub use files::{expect_ours, forget, install};

/// Where persisted claims are, one file each.
pub const FOLDER: &str = "etc/ringfence/claims";

const EXTENSION: &str = ".json";

/// The layout of the file. A later one is not guessed at.
const SCHEMA: &str = "ringfence.claim/1";

/// A claim to be made again at every boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persisted {
    schema: String,
    /// The functions of the group.
    pub functions: Vec<PersistedFunction>,
}

/// A function by where it is plugged in and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersistedFunction {
    /// Where.
    pub place: Place,
    /// What.
    pub identity: Identity,
    /// The driver it is given, `None` if it keeps its own.
    pub driver: Option<String>,
    /// The driver it had before, which a release gives it back to.
    pub driver_before: Option<String>,
    /// What its override said before.
    pub override_before: Option<String>,
}

impl Persisted {
    /// What has to be written down of a claim.
    pub fn of(plan: &ClaimPlan) -> Self {
        let function = |member: &Member| {
            let driver = plan.changes(member.address).then(|| plan.override_after(member));
            PersistedFunction {
                place: member.place.clone(),
                identity: member.identity,
                driver: driver.flatten().map(str::to_string),
                driver_before: member.driver.clone(),
                override_before: member.driver_override.clone(),
            }
        };
        let functions = plan.members.iter().map(function).collect();
        Self { schema: SCHEMA.to_string(), functions }
    }

    /// What the claim is called: as in the folder of claims that stand.
    pub fn name(&self) -> Option<String> {
        self.functions.first().map(|function| name_of(&function.place))
    }

    /// Where its functions are now. Refuses the whole of it when one is missing or is another.
    pub fn resolve(&self, root: &Root) -> Result<Vec<PciAddress>, Failure> {
        let find = |function: &PersistedFunction| {
            let place = &function.place;
            let missing = || Refusal::new(&refusals::NO_FUNCTION, format!("at place {place}"));
            let address = place.find(root)?.ok_or_else(missing)?;
            let identity = identity_of(root, address)?.ok_or_else(missing)?;
            if identity != function.identity {
                let meant = function.identity;
                let what = format!("{address} at place {place} is {identity}, not {meant}");
                return Err(Failure::from(Refusal::new(&refusals::CHANGED, what)));
            }
            Ok(address)
        };
        self.functions.iter().map(find).collect()
    }

    /// Whether it claims what is plugged in at one of these places.
    pub fn has_any_of(&self, places: &[&Place]) -> bool {
        self.functions.iter().any(|function| places.contains(&&function.place))
    }

    /// The driver that keeps a function of it from all others, by where the function is; of those
    /// that no other driver has yet.
    pub(crate) fn keeps(&self, root: &Root) -> Result<Vec<(PciAddress, &str)>, Failure> {
        let mut keeps = Vec::new();
        for (address, function) in self.resolve(root)?.into_iter().zip(&self.functions) {
            let Some(driver) = &function.driver else { continue };
            // What has another driver is the claim's to take, which writes down that it had one.
            if root.driver_of(address)?.is_none() {
                keeps.push((address, driver.as_str()));
            }
        }
        Ok(keeps)
    }

    /// The plan that makes the claim again: of what the early hook has kept from its driver
    /// already, with what would be so without the hook, so that a release brings that back.
    pub(crate) fn plan(&self, members: Vec<Member>) -> ClaimPlan {
        let mut hooked = BTreeMap::new();
        for member in &members {
            let function = self.functions.iter().find(|function| function.place == member.place);
            let Some(function) = function else { continue };
            let Some(driver) = &function.driver else { continue };
            if member.driver_override.as_ref() == Some(driver) {
                // A driver that was quicker than the hook is the one to give it back to.
                let other = member.driver.clone().filter(|now| now != driver);
                let before = Member {
                    driver: other.or(function.driver_before.clone()),
                    driver_override: function.override_before.clone(),
                    ..member.clone()
                };
                hooked.insert(member.address, (before, driver.clone()));
            }
        }
        ClaimPlan::with_hooked(members, &hooked)
    }
}

/// The persisted claims of the host, by name; in place of one whose file cannot be read as one, a
/// fault that names it.
pub fn persisted(root: &Root) -> Result<BTreeMap<String, Result<Persisted, Fault>>, Fault> {
    let mut all = BTreeMap::new();
    let folder = root.join(FOLDER);
    for file in entries(&folder)? {
        let Some(name) = file.strip_suffix(EXTENSION) else { continue };
        let path = folder.join(&file);
        let Some(text) = read(&path)? else { continue };
        let fault = |error: io::Error| Fault::new("understand", path.display().to_string(), error);
        let claim = serde_json::from_str(&text).map_err(|error| fault(error.into()));
        let claim = claim.and_then(|claim: Persisted| {
            if claim.schema == SCHEMA {
                return Ok(claim);
            }
            let what = format!("its schema is {:?}, not {SCHEMA:?}", claim.schema);
            Err(fault(io::Error::new(io::ErrorKind::InvalidData, what)))
        });
        all.insert(name.to_string(), claim);
    }
    Ok(all)
}

/// The persisted claim that holds at the place where the function at `address` is plugged in,
/// by its name; whatever has become of it.
pub fn name_at(root: &Root, address: PciAddress) -> Result<Option<String>, Fault> {
    let Some(place) = Place::of(root, address)? else { return Ok(None) };
    let all = persisted(root)?;
    let is_there = |claim: &Persisted| claim.has_any_of(&[&place]);
    Ok(all.into_iter().find(|(_, claim)| claim.as_ref().is_ok_and(is_there)).map(|(name, _)| name))
}
