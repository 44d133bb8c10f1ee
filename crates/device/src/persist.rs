//! Claims that outlast the host: written down by place and identity, found again after a reboot.
//!
//! A persisted claim names no address and no group number, which shift; it names places
//! ([`Place`]) and what is plugged in there. Found again, every function must be what it was, or
//! nothing is claimed.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use ringfence_addr::PciAddress;
use ringfence_refusal::{Failure, Fault, Refusal};
use serde::{Deserialize, Serialize};

use crate::manager::Claim;
use crate::member::{Identity, Member, identity_of};
use crate::place::Place;
use crate::plan::ClaimPlan;
use crate::refusals;
use crate::root::{Root, entries, read, whole_address};
use crate::store::name_of;

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
    pub fn of(claim: &Claim) -> Self {
        let function = |member: &Member| {
            let plan = &claim.plan;
            let driver = plan.changes(member.address).then(|| plan.override_after(member));
            PersistedFunction {
                place: member.place.clone(),
                identity: member.identity,
                driver: driver.flatten().map(str::to_string),
                driver_before: member.driver.clone(),
                override_before: member.driver_override.clone(),
            }
        };
        let functions = claim.plan.members.iter().map(function).collect();
        Self { schema: SCHEMA.to_string(), functions }
    }

    /// What the claim is called: as in the folder of claims that stand.
    pub fn name(&self) -> Option<String> {
        self.functions.first().map(|function| name_of(&function.place))
    }

    /// Where its functions are now. Refuses the whole of it when one is missing or is another.
    pub fn resolve(&self, root: &Root) -> Result<Vec<PciAddress>, Failure> {
        let mut places = BTreeMap::new();
        for name in entries(&root.join("sys/bus/pci/devices"))? {
            let Some(address) = whole_address(&name) else { continue };
            if let Some(place) = Place::of(root, address)? {
                places.insert(place, address);
            }
        }
        let find = |function: &PersistedFunction| {
            let place = &function.place;
            let missing = || Refusal::new(&refusals::NO_FUNCTION, format!("at place {place}"));
            let address = *places.get(place).ok_or_else(missing)?;
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

    /// The plan that makes the claim again: for what the early hook has kept from its driver
    /// already, as it would have been without the hook, so that a release gives it back to that.
    pub(crate) fn plan(&self, members: Vec<Member>) -> ClaimPlan {
        let mut hooked = BTreeMap::new();
        for member in &members {
            let function = self.functions.iter().find(|function| function.place == member.place);
            let Some(function) = function else { continue };
            let Some(driver) = &function.driver else { continue };
            let is_kept = member.driver_override.as_ref() == Some(driver)
                && member.driver.as_ref().is_none_or(|now| now == driver);
            if is_kept {
                let before = Member {
                    driver: function.driver_before.clone(),
                    driver_override: function.override_before.clone(),
                    ..member.clone()
                };
                hooked.insert(member.address, (before, driver.clone()));
            }
        }
        ClaimPlan::with_hooked(members, &hooked)
    }

    /// The driver that the function at `address` is to be left to, if it is one of this claim's.
    fn driver_of(&self, place: &Place, identity: Identity) -> Option<&str> {
        let function = self
            .functions
            .iter()
            .find(|function| function.place == *place && function.identity == identity)?;
        function.driver.as_deref()
    }
}

/// The persisted claims of the host, by name. A file that cannot be read as one is a fault that
/// names it.
pub fn persisted(root: &Root) -> Result<BTreeMap<String, Persisted>, Fault> {
    let mut all = BTreeMap::new();
    let folder = root.join(FOLDER);
    for file in entries(&folder)? {
        let Some(name) = file.strip_suffix(EXTENSION) else { continue };
        let path = folder.join(&file);
        let Some(text) = read(&path)? else { continue };
        let fault = |error: io::Error| Fault::new("understand", path.display().to_string(), error);
        let claim: Persisted = serde_json::from_str(&text).map_err(|error| fault(error.into()))?;
        if claim.schema != SCHEMA {
            let what = format!("its schema is {:?}, not {SCHEMA:?}", claim.schema);
            return Err(fault(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        all.insert(name.to_string(), claim);
    }
    Ok(all)
}

/// The driver that the function at `address` is to be left to by a persisted claim, if any: what
/// the early hook writes to `driver_override` before any driver is loaded for it.
pub fn driver_at_boot(root: &Root, address: PciAddress) -> Result<Option<String>, Fault> {
    let Some(place) = Place::of(root, address)? else { return Ok(None) };
    let Some(identity) = identity_of(root, address)? else { return Ok(None) };
    let all = persisted(root)?;
    Ok(all.values().find_map(|claim| claim.driver_of(&place, identity)).map(str::to_string))
}

/// A file that has to be there for persisted claims to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFile {
    /// Where, from `/`.
    pub path: String,
    /// Its mode.
    pub mode: u32,
    /// What is in it.
    pub text: String,
}

/// Everything that is written for persisted claims to hold from early boot on, `program` being
/// where Ringfence is installed. In the order in which they come into play:
///
/// - the hook of initramfs-tools puts the program, the rule and the claims into the initramfs, where
///   most drivers are loaded;
/// - the udev rule runs before the one that loads drivers, and sets `driver_override` of each
///   function of a persisted claim as it appears;
/// - `vfio-pci` is loaded;
/// - the unit makes the claims proper, with journals, before anything that may use the devices.
///
/// A driver built into the kernel comes before all of this; the unit takes the function from it.
pub fn boot_files(program: &str, claims: &[&Persisted]) -> Vec<BootFile> {
    let file = |path: &str, mode, text: String| BootFile { path: path.to_string(), mode, text };
    let mut files = Vec::new();
    for claim in claims {
        if let Some(name) = claim.name() {
            let text = serde_json::to_string_pretty(claim).expect("text and numbers");
            files.push(file(&format!("{FOLDER}/{name}{EXTENSION}"), 0o600, text + "\n"));
        }
    }
    let says = "# Written by ringfence claim --persist. ringfence release --persist removes it.\n";
    let rule = format!(
        "{says}ACTION==\"add\", SUBSYSTEM==\"pci\", PROGRAM=\"{program} claim --at-boot %k\"\n"
    );
    files.push(file("etc/udev/rules.d/10-ringfence.rules", 0o644, rule));
    files.push(file("etc/modules-load.d/ringfence.conf", 0o644, format!("{says}vfio-pci\n")));
    let hook = format!(
        "#!/bin/sh\n{says}[ \"$1\" = prereqs ] && exit 0\n. /usr/share/initramfs-tools/hook-functions\n\
         copy_exec {program}\ncopy_file rule /etc/udev/rules.d/10-ringfence.rules\n\
         for claim in /{FOLDER}/*{EXTENSION}; do copy_file claim \"$claim\"; done\n\
         force_load vfio-pci\n"
    );
    files.push(file("etc/initramfs-tools/hooks/ringfence", 0o755, hook));
    let unit = format!(
        "{says}[Unit]\nDescription=Claim PCI functions for virtual machines\n\
         DefaultDependencies=no\nAfter=systemd-modules-load.service systemd-udev-settle.service\n\
         Wants=systemd-udev-settle.service\nBefore=network-pre.target display-manager.service\n\
         ConditionDirectoryNotEmpty=/{FOLDER}\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart={program} claim --recover\nExecStart={program} claim --persisted\n\n\
         [Install]\nWantedBy=sysinit.target\n"
    );
    files.push(file("etc/systemd/system/ringfence-claims.service", 0o644, unit));
    files
}

/// Writes the files below `root`, each whole or not at all, and on the disk.
pub fn install(root: &Root, files: &[BootFile]) -> Result<(), Fault> {
    for file in files {
        let path = root.join(&file.path);
        put(&path, file).map_err(|error| Fault::new("write", path.display().to_string(), error))?;
    }
    Ok(())
}

fn put(path: &Path, file: &BootFile) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let beside = path.with_extension("new");
    let mut new = File::create(&beside)?;
    new.set_permissions(fs::Permissions::from_mode(file.mode))?;
    new.write_all(file.text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// Forgets the persisted claim `name`; whether there was one. The other files stay for as long as
/// there are others, and do nothing without any.
pub fn forget(root: &Root, name: &str) -> Result<bool, Fault> {
    // The name becomes a part of a path.
    if name.contains('/') || name.starts_with('.') {
        return Ok(false);
    }
    let path = root.join(FOLDER).join(format!("{name}{EXTENSION}"));
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Fault::new("remove", path.display().to_string(), error)),
    }
}
