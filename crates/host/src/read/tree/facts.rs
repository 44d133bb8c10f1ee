//! Everything there is of a host in a tree.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ringfence_addr::PciAddress;

use crate::fact::{Fact, Unknown};
use crate::host::{Host, Iommu, Kernel};
use crate::read::{Options, virtual_functions};

use super::functions::{FUNCTIONS, unknown};
use super::{Directory, Keep, Miss, Tree, firmware, functions, iommu_features};

/// Reads a host, or says why the list of its functions is not to be had.
pub(crate) fn read(tree: &impl Tree, options: Options) -> Result<Host, Miss> {
    let mut host = Host::default();
    let mut iommus = BTreeMap::new();
    let mut addresses = Vec::new();
    let names = match tree.names(FUNCTIONS) {
        Err(Miss::Absent) if options.tables_suffice && firmware::has_tables(tree) => Vec::new(),
        names => names?,
    };
    for name in names {
        match name.parse::<PciAddress>() {
            Ok(address) => addresses.push(address),
            Err(_) => host.remarks.push(format!("{FUNCTIONS}/{name} is no function")),
        }
    }
    // A directory has each name once. A made-up list may have one a million times, and all that
    // is said of it would be read as often.
    addresses.sort_unstable();
    addresses.dedup();
    host.functions = addresses
        .into_iter()
        .map(|address| (address, functions::read(tree, address, options, &mut iommus)))
        .collect();
    host.kernel = kernel(tree);
    let proc = tree.directory("proc");
    let cpu = proc.text("cpuinfo", Keep::Hypervisor);
    host.is_virtual_machine = match cpu.as_deref() {
        Ok("flags: hypervisor") => Fact::Known(true),
        Ok("flags:") => Fact::Known(false),
        Ok(_) => Fact::default(),
        Err(miss) => Fact::Unknown(unknown(*miss)),
    };
    host.iommus = listed_iommus(tree, iommus);
    firmware::read(tree, &mut host);
    read_groups(tree, &mut host);
    say_none_where_others_have(&mut host);
    virtual_functions::assign(&mut host);
    Ok(host)
}

fn kernel(tree: &impl Tree) -> Kernel {
    let own = tree.directory("proc/sys/kernel");
    Kernel {
        release: text(&own, "osrelease", Keep::Whole),
        machine: text(&own, "arch", Keep::Whole),
        command_line: text(&tree.directory("proc"), "cmdline", Keep::CommandLine),
    }
}

fn text(directory: &impl Directory, name: &str, keep: Keep) -> Fact<String> {
    let text = directory.text(name, keep).map(Cow::into_owned);
    text.map_or_else(|miss| Fact::Unknown(unknown(miss)), Fact::Known)
}

/// The IOMMUs the kernel lists, with the functions that link to them.
fn listed_iommus(
    tree: &impl Tree,
    mut functions: BTreeMap<String, Vec<PciAddress>>,
) -> Fact<Vec<Iommu>> {
    let names = match tree.names("sys/class/iommu") {
        Ok(names) => names,
        // A kernel that can have none has no such class.
        Err(Miss::Absent) if tree.names("sys/class").is_ok() => Vec::new(),
        Err(miss) => return Fact::Unknown(unknown(miss)),
    };
    let any_link = !functions.is_empty();
    let iommus = names.into_iter().map(|name| {
        let functions = functions.remove(&*name).unwrap_or_default();
        let functions = if any_link { Fact::Known(functions) } else { Fact::default() };
        let features = iommu_features::read(tree, &name);
        Iommu { name: name.into_owned(), functions, features }
    });
    Fact::Known(iommus.collect())
}

/// What the kernel says of the groups that functions are in.
fn read_groups(tree: &impl Tree, host: &mut Host) {
    const GROUPS: &str = "sys/kernel/iommu_groups";
    let mut numbers: Vec<u32> = host
        .functions
        .values()
        .filter_map(|function| function.kernel_group.known().copied().flatten())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.is_empty() && tree.names(GROUPS).is_err() && tree.names("sys/kernel").is_err() {
        // Nothing here is from a kernel that would have shown groups.
        for function in host.functions.values_mut() {
            function.kernel_group = Fact::default();
        }
    }
    for number in numbers {
        let group = tree.directory(&format!("{GROUPS}/{number}"));
        if let Ok(regions) = group.text("reserved_regions", Keep::Whole) {
            let lines = regions.lines().map(str::to_owned).collect();
            host.reserved_regions.insert(number, lines);
        }
        if let Ok(kind) = group.text("type", Keep::Whole) {
            host.group_types.insert(number, kind.into_owned());
        }
    }
}

/// The kernel shows no ways to reset where it knows none; where it shows no ways at all it is one
/// that does not say.
fn say_none_where_others_have(host: &mut Host) {
    if !host.functions.values().any(|function| function.reset_methods.is_known()) {
        return;
    }
    for function in host.functions.values_mut() {
        if function.reset_methods == Fact::Unknown(Unknown::NotInSource) {
            function.reset_methods = Fact::Known(Vec::new());
        }
    }
}
