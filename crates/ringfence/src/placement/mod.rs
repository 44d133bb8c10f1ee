//! Plans as people and programs are shown them.

mod answer;
mod difference;
mod table;

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use ringfence_device::refusals::BASE_CHANGED;
use ringfence_host::{Host, HostMemory, Owners, Region, RegionKind, Role, Stolen};
use ringfence_plan::Plan;
use ringfence_refusal::Refusal;

pub(crate) use answer::Answer;
pub(crate) use difference::difference;
pub(crate) use table::table;

use crate::config::{self, Vm};
use crate::exit::Exit;
use crate::host_source;
use crate::talk::Trouble;

/// What a plan was asked for: the VM, and what is known of the hosts it may run on.
pub(crate) struct Asked {
    pub(crate) vm: Vm,
    pub(crate) memories: Vec<HostMemory>,
}

impl Asked {
    /// Reads the VM's file and the hosts at `from`, or the one at hand.
    pub(crate) fn read(vm: &Path, from: &[PathBuf]) -> anyhow::Result<Self> {
        let vm = config::load(vm)?;
        let mut hosts = Vec::new();
        if from.is_empty() {
            hosts.push(host_source::host_memory(None)?);
        }
        for path in from {
            hosts.push(host_source::host_memory(Some(path))?);
        }
        for host in &hosts {
            check_functions(&vm, host)?;
        }
        let mut memories: Vec<HostMemory> = hosts.iter().map(HostMemory::of).collect();
        for memory in &mut memories {
            add_typed(&vm, memory)?;
        }
        Ok(Self { vm, memories })
    }

    /// What the planner is asked.
    pub(crate) fn request(&self) -> ringfence_plan::Request {
        let memory = NonZeroU64::new(self.vm.memory_bytes).expect("the least is more than none");
        self.vm.placing.request(memory, &self.vm.functions, &self.vm.devices)
    }

    /// What it answers.
    pub(crate) fn plan(&self) -> Result<Plan, Vec<Refusal>> {
        ringfence_plan::plan(&self.memories, &self.request())
    }
}

/// Adds what the VM's file says that firmware took, where the host does not say.
fn add_typed(vm: &Vm, memory: &mut HostMemory) -> Result<(), Refusal> {
    for function in &vm.functions {
        let Some(typed) = function.stolen else { continue };
        let address = function.address;
        match memory.stolen.get(&address).and_then(|it| it.known()).and_then(Stolen::span) {
            Some(known) if known == typed => {}
            Some(known) => {
                let what = format!("{address}: the VM's file says {typed}, and the host {known}");
                return Err(Refusal::new(&BASE_CHANGED, what));
            }
            None => memory.regions.push(Region {
                span: typed,
                // What nobody is known to have reserved nobody keeps free.
                kind: RegionKind::Relaxable,
                owners: Owners::These([address].into()),
                shared: BTreeSet::new(),
                role: Role::Graphics,
                sources: vec!["the VM's file".to_owned()],
            }),
        }
    }
    Ok(())
}

/// Whether the host has the VM's functions, where it says which it has.
fn check_functions(vm: &Vm, host: &Host) -> anyhow::Result<()> {
    for function in &vm.functions {
        if !host.functions.is_empty() && host.function(function.address).is_none() {
            let what = format!("the host has no function {}", function.address);
            let next = "see which there are with `ringfence groups`";
            return Err(Trouble::new(Exit::Usage, what, next).into());
        }
    }
    Ok(())
}
