//! What will refuse, what will silently corrupt, and what to do about it: of a host, or of a VM on it.
//!
//! Checks are values made from what was read; nothing here reads. What was not read is a warning that
//! says so.

mod arguments;
mod bypass;
mod check;
mod codes;
mod host;
mod region;
mod remedy;
mod report;
mod table;
mod vm;

use ringfence_host::{Host, HostMemory};

pub(crate) use check::{Check, Status};
pub(crate) use codes::CATALOGUE;
pub(crate) use report::{Answer, verdict};
pub(crate) use table::table;

use crate::described::Described;

/// Everything there is to say of `host`, and of `vm` on it.
pub(crate) fn examine(host: &Host, memory: &HostMemory, vm: Option<&Described>) -> Vec<Check> {
    let mut checks = host::checks(host, memory);
    checks.extend(arguments::checks(host, vm));
    match vm {
        Some(vm) => checks.extend(vm::checks(host, memory, vm)),
        None => {
            checks.extend(region::of_host(host, memory));
            checks.extend(bypass::checks(memory, |_| true));
        }
    }
    checks
}
