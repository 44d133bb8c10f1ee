//! From the default routes, through bridges, bonds and VLANs, to PCI functions.
//!
//! The routes are those of the network namespace this process is in.

use std::collections::BTreeSet;

use ringfence_addr::PciAddress;
use ringfence_refusal::Fault;

use super::Use;
use crate::refusals::ROUTE;
use crate::root::{Root, entries, read};

/// Interfaces are not stacked deeper.
const DEPTH_MAX: usize = 16;

/// `RTF_REJECT` of a route: nothing goes out there.
const REJECT: u32 = 0x200;

pub(super) fn uses(root: &Root) -> Result<Vec<Use>, Fault> {
    let v4 = read(&root.join("proc/net/route"))?.unwrap_or_default();
    let v6 = read(&root.join("proc/net/ipv6_route"))?.unwrap_or_default();
    let mut names = BTreeSet::new();
    names.extend(v4.lines().filter_map(default_of_v4));
    names.extend(v6.lines().filter_map(default_of_v6));
    let used = |name: &str| {
        let mut functions = BTreeSet::new();
        collect(root, name, DEPTH_MAX, &mut BTreeSet::new(), &mut functions)?;
        let what = format!("the default route (through {name})");
        Ok(Use { code: &ROUTE, what, functions: functions.into_iter().collect() })
    };
    names.into_iter().map(used).collect()
}

/// The interface of a line of `/proc/net/route`, if the line is a default route.
fn default_of_v4(line: &str) -> Option<&str> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [name, destination, _, flags, _, _, _, mask, ..] = fields[..] else { return None };
    let goes_out = u32::from_str_radix(flags, 16).ok()? & REJECT == 0;
    (destination == "00000000" && mask == "00000000" && goes_out).then_some(name)
}

/// The interface of a line of `/proc/net/ipv6_route`, if the line is a default route.
fn default_of_v6(line: &str) -> Option<&str> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [destination, length, _, _, _, _, _, _, flags, name] = fields[..] else { return None };
    let goes_out = u32::from_str_radix(flags, 16).ok()? & REJECT == 0;
    let is_all = length == "00" && destination.bytes().all(|digit| digit == b'0');
    (is_all && goes_out).then_some(name)
}

fn collect(
    root: &Root,
    name: &str,
    depth: usize,
    seen: &mut BTreeSet<String>,
    functions: &mut BTreeSet<PciAddress>,
) -> Result<(), Fault> {
    // The name comes from a file of the kernel's, but ends up in a path.
    if depth == 0 || name.contains('/') || !seen.insert(name.to_string()) {
        return Ok(());
    }
    let folder = root.join("sys/class/net").join(name);
    functions.extend(root.functions_above(&folder)?);
    for entry in entries(&folder)? {
        if let Some(lower) = entry.strip_prefix("lower_") {
            collect(root, lower, depth - 1, seen, functions)?;
        }
    }
    Ok(())
}
