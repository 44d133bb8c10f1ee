//! VT-d: RMRRs by device scope, matched as `dmar_match_pci_path` does.

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;

use super::{AsLinux, LinuxKind, PciFunctions, region};
use crate::dmar::{Dmar, Rmrr, Scope, ScopeKind, Scopes, Structure};
use crate::place::MSI;

/// Where the kernel lets a floppy controller reach for an ISA bridge.
const FLOPPY: (u64, u64) = (0, 0xff_ffff);
/// Bytes of a width field below this are refused ("Invalid DMAR haw").
const WIDTH_MIN: u8 = 11;

pub(super) fn regions(dmar: &Dmar, functions: &PciFunctions) -> AsLinux {
    if let Some(why) = off(dmar) {
        return AsLinux::off(why);
    }
    let host = Matcher::new(functions);
    let mut answer = AsLinux::default();
    let mut units: Vec<(bool, u16, Vec<PciAddress>)> = Vec::new();
    for (_, drhd) in dmar.drhds() {
        // A unit for all others does not look at its scopes.
        let named = match drhd.includes_all() {
            true => Ok(Vec::new()),
            false => host.named(drhd.segment, &drhd.scopes),
        };
        match named {
            Ok(named) => units.push((drhd.includes_all(), drhd.segment, named)),
            Err(why) => return AsLinux::off(why),
        }
    }
    let mut reserved: Vec<(&Rmrr, Vec<PciAddress>)> = Vec::new();
    for (at, rmrr) in dmar.rmrrs() {
        match host.named(rmrr.segment, &rmrr.scopes) {
            Ok(named) => reserved.push((rmrr, named)),
            Err(why) => return AsLinux::off(why),
        }
        if rmrr.span().is_none() {
            answer.remarks.push(format!("DMAR+{at:#x}: the kernel's length of this region wraps"));
        }
    }
    for (address, function) in &functions.by_address {
        let physical = function.physical.unwrap_or(*address);
        let has_unit = units.iter().any(|(all, segment, named)| {
            (*all && u32::from(*segment) == physical.domain())
                || host.line(physical).iter().any(|it| named.contains(it))
        });
        if !has_unit {
            continue;
        }
        let (is_relaxable, is_isa) = match function.class {
            Some(class) => (class >> 16 == 3 || class >> 8 == 0x0c03, class >> 8 == 0x0601),
            None => (false, false),
        };
        let kind = if is_relaxable { LinuxKind::Relaxable } else { LinuxKind::Direct };
        let mut list = Vec::new();
        for (rmrr, named) in &reserved {
            let uses = named.iter().filter(|it| *it == address || host.is_behind(*address, **it));
            for _ in uses {
                list.extend(region(rmrr.base, rmrr.limit, kind));
            }
        }
        if function.class.is_none() && !list.is_empty() {
            answer
                .remarks
                .push(format!("{address}: its class is not known, so neither is the kind"));
        }
        list.extend(is_isa.then(|| region(FLOPPY.0, FLOPPY.1, LinuxKind::Relaxable)).flatten());
        list.extend(region(MSI.0, MSI.1, LinuxKind::Msi));
        answer.regions.insert(*address, super::group(&list));
    }
    answer
}

/// Why the kernel does not use VT-d with such a table, whatever the host.
fn off(dmar: &Dmar) -> Option<String> {
    let lists = dmar.structures.iter().filter_map(Structure::scopes);
    let has_endless_scope = lists.map(|(_, scopes, _)| &scopes.rest).any(|rest| {
        // A scope of length zero, in a structure where the kernel goes through all of them.
        matches!(rest[..], [_, 0, ..])
    });
    if dmar.width < WIDTH_MIN {
        return Some("Invalid DMAR haw".to_owned());
    }
    if matches!(dmar.rest[..], [_, _, 0, 0, ..]) || has_endless_scope {
        return Some("something has length zero, and the kernel loops for ever".to_owned());
    }
    if !dmar.rest.is_empty() {
        return Some("Record passes table end".to_owned());
    }
    if dmar.drhds().next().is_none() {
        return Some("No DMAR devices found".to_owned());
    }
    if dmar.drhds().any(|(_, drhd)| drhd.base == 0) {
        return Some("DMAR reported at address 0".to_owned());
    }
    let has_endless_name = dmar
        .structures
        .iter()
        .any(|structure| matches!(structure, Structure::Andd(andd) if !andd.name.contains(&0)));
    has_endless_name.then(|| "ANDD object name is not NUL-terminated".to_owned())
}

/// The host as device scopes are matched with it.
struct Matcher<'a> {
    functions: &'a PciFunctions,
    /// The bridge right above a bus, by domain and bus.
    above: BTreeMap<(u32, u8), PciAddress>,
}

impl<'a> Matcher<'a> {
    fn new(functions: &'a PciFunctions) -> Self {
        let bridges = functions.by_address.iter();
        let above = bridges
            .filter_map(|(address, it)| Some(((address.domain(), it.behind?.0), *address)))
            .filter(|((_, bus), address)| *bus > address.bus())
            .collect();
        Self { functions, above }
    }

    /// The function and the bridges above it, from below. A bridge leads only to a higher bus.
    fn line(&self, function: PciAddress) -> Vec<PciAddress> {
        let next = |it: &PciAddress| self.above.get(&(it.domain(), it.bus())).copied();
        std::iter::successors(Some(function), next).collect()
    }

    /// The functions that scopes name: those there are, each of the type stated.
    fn named(&self, segment: u16, scopes: &Scopes) -> Result<Vec<PciAddress>, String> {
        let mut named = Vec::new();
        let physical = self.functions.by_address.iter().filter(|(_, it)| it.physical.is_none());
        for (address, function) in physical.filter(|(it, _)| it.domain() == segment.into()) {
            let line = self.line(*address);
            let Some(scope) = scopes.list.iter().find(|scope| matches(scope, &line)) else {
                continue;
            };
            let is_bridge_class = function.class.is_none_or(|class| class >> 16 == 6);
            let fits = match scope.kind {
                ScopeKind::Endpoint => !function.is_bridge,
                _ => function.is_bridge || is_bridge_class,
            };
            if !fits {
                return Err(format!("Device scope type does not match for {address}"));
            }
            named.push(*address);
        }
        Ok(named)
    }

    /// Whether the function's bus is behind the bridge. The kernel compares bus numbers alone.
    fn is_behind(&self, function: PciAddress, bridge: PciAddress) -> bool {
        let behind = self.functions.by_address.get(&bridge).and_then(|it| it.behind);
        behind.is_some_and(|(first, last)| (first..=last).contains(&function.bus()))
    }
}

/// Whether a scope's path is the one from the root bus, or, being one hop, names the function by the
/// bus it is on.
fn matches(scope: &Scope, line: &[PciAddress]) -> bool {
    if !matches!(scope.kind, ScopeKind::Endpoint | ScopeKind::Bridge) {
        return false;
    }
    let hop = |it: &PciAddress| [it.device(), it.function()];
    let is_path = line.last().is_some_and(|root| root.bus() == scope.start_bus)
        && line.iter().rev().map(hop).eq(scope.path.iter().copied());
    let own = line.first().map(|it| (it.bus(), hop(it)));
    is_path || (scope.path.len() == 1 && own == Some((scope.start_bus, scope.path[0])))
}
