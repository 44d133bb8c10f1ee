//! A VM as somebody else's file or process describes it, as far as it says where memory lies and which
//! functions of the host's the VM has.
//!
//! What it is, is seen by its content: libvirt's XML, Proxmox's configuration, QEMU's arguments; all else
//! is our own file. Any bytes give a VM or a refusal that says what is missing.

mod amount;
mod arguments;
mod draft;
mod libvirt;
mod options;
mod proxmox;

use std::fs::File;
use std::io::Read;
use std::num::NonZeroU64;
use std::path::Path;

use anyhow::Context;
use ringfence_addr::PciAddress;
use ringfence_host::Host;
use ringfence_plan::{Machine, Policy, Request};
use ringfence_refusal::Refusal;

use self::draft::Draft;
use crate::config::{self, Vm};
use crate::refusals;

/// The largest description that is read; real ones have some KiB.
const LARGEST: u64 = 1 << 20;

/// In whose words the VM is described, and so is to be told what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// Our own file.
    Own,
    /// A libvirt domain.
    Libvirt,
    /// A VM's configuration of Proxmox VE's.
    Proxmox,
    /// QEMU's arguments.
    Qemu,
}

/// A VM, as far as it matters to its devices.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) words: Words,
    /// Where memory begins and ends by itself; `None` for a machine that is not known here.
    pub(crate) machine: Option<Machine>,
    /// Where its VMM is told that low memory ends (`max-ram-below-4g`).
    pub(crate) low_bytes: Option<NonZeroU64>,
    /// The guest is told something of its memory that is not seen from outside.
    pub(crate) keeps_off: bool,
    /// What was not understood, or only in part.
    pub(crate) remarks: Vec<String>,
    /// For `machine`, or for any if that is not known.
    asked: Request,
}

impl Described {
    /// What the planner would be asked for it.
    pub(crate) fn request(&self) -> Option<Request> {
        let machine = self.machine?;
        Some(Request { machine, ..self.asked.clone() })
    }

    /// The host functions it has or may get.
    pub(crate) fn functions(&self) -> impl Iterator<Item = PciAddress> {
        let all = self.asked.devices.iter().chain(&self.asked.later);
        all.map(|function| function.address)
    }

    /// What becomes of the function's regions.
    pub(crate) fn policy(&self, address: PciAddress) -> Policy {
        let mut all = self.asked.devices.iter().chain(&self.asked.later);
        let told = all.find(|one| one.address == address).and_then(|one| one.policy);
        // QEMU shows a graphics device's memory somewhere else unless it is told not to.
        let own = if self.words == Words::Own { Policy::Hole } else { Policy::Relocate };
        told.unwrap_or(own)
    }

    pub(crate) fn request_allows_direct(&self) -> bool {
        self.asked.direct_allowed
    }

    fn own(vm: &Vm) -> Option<Self> {
        let memory = NonZeroU64::new(vm.memory_bytes)?;
        Some(Self {
            name: vm.name.clone(),
            words: Words::Own,
            machine: Some(vm.placing.machine),
            low_bytes: None,
            keeps_off: false,
            remarks: Vec::new(),
            asked: vm.placing.request(memory, &vm.functions, &vm.devices),
        })
    }
}

/// The VM that `path` describes, for `host`, which says what functions a slot has.
pub(crate) fn read(path: &Path, host: &Host) -> anyhow::Result<Described> {
    let bytes = bounded(path)?;
    let named =
        path.file_stem().map_or("vm".to_owned(), |stem| stem.to_string_lossy().into_owned());
    match foreign(&bytes, host, &named) {
        Some(described) => Ok(described.map_err(|refusal| refusal.within(path.display()))?),
        None => Described::own(&config::load(path)?).context("the least is more than none"),
    }
}

/// The VM that the QEMU with this process id runs.
pub(crate) fn of_process(id: u32, host: &Host) -> anyhow::Result<Described> {
    let path = format!("/proc/{id}/cmdline");
    let bytes = bounded(Path::new(&path))?;
    let draft = arguments::of_process(&bytes, &format!("process {id}"));
    Ok(draft.and_then(|draft| draft.finish(host)).map_err(|refusal| refusal.within(path))?)
}

/// What somebody else's `bytes` describe; nothing if they look like nobody else's.
fn foreign(bytes: &[u8], host: &Host, named: &str) -> Option<Result<Described, Refusal>> {
    let draft = if bytes.contains(&0) {
        arguments::of_process(bytes, named)
    } else {
        let text = std::str::from_utf8(bytes).ok()?.trim_start_matches('\u{feff}');
        if text.trim_start().starts_with('<') {
            libvirt::draft(text, named)
        } else if proxmox::is_one(text) {
            proxmox::draft(text, named)
        } else {
            return None;
        }
    };
    Some(draft.and_then(|draft: Draft| draft.finish(host)))
}

fn bounded(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > LARGEST {
        return Err(not_understood(format!("more than {LARGEST} bytes"))
            .within(path.display())
            .into());
    }
    Ok(bytes)
}

fn not_understood(detail: impl Into<String>) -> Refusal {
    Refusal::new(&refusals::NOT_A_VM, detail.into())
}

#[cfg(test)]
mod tests;
