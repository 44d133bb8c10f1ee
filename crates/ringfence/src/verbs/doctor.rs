//! `doctor`: what will refuse, what will silently corrupt, and what to do about it.

use ringfence_host::HostMemory;

use crate::cli;
use crate::described;
use crate::doctor::{Answer, Status, examine, table, verdict};
use crate::exit::Exit;
use crate::{host_source, talk};

pub(crate) fn run(arguments: &cli::Doctor) -> anyhow::Result<Exit> {
    let host = host_source::host_memory(arguments.from.as_deref())?;
    let vm = match (&arguments.vm, arguments.pid) {
        (Some(path), _) => Some(described::read(path, &host)?),
        (None, Some(id)) => Some(described::of_process(id, &host)?),
        (None, None) => None,
    };
    let memory = HostMemory::of(&host);
    for remark in host.remarks.iter().chain(&memory.remarks) {
        talk::say(talk::printable(remark));
    }
    let checks = examine(&host, &memory, vm.as_ref());
    if arguments.json {
        talk::json(&Answer::new(vm.as_ref().map(|vm| vm.name.as_str()), &checks))?;
    } else {
        talk::data(&table(&checks))?;
    }
    Ok(if verdict(&checks) == Status::Fail { Exit::No } else { Exit::Ok })
}
