//! Where a line says its function is: an address, or with `-P` and `-PP` a path through bridges.

use std::collections::HashMap;
use std::fmt;

use ringfence_addr::PciAddress;

use crate::fact::{Fact, Unknown};
use crate::function::Function;

/// Bridges one below the other, at most: a bus below each, and a domain has 256.
const DEEPEST: usize = 256;

/// An address or a path, as printed: `00:1c.0`, `00:1c.0/01:00.0`, `00:1c.0/00.0`.
pub(super) struct Place(String);

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Parts a line that begins a function into its place and the rest.
pub(super) fn split(line: &str) -> Option<(Place, &str)> {
    let (place, rest) = line.split_once(' ')?;
    let mut parts = place.split('/');
    address(parts.next()?)?;
    let mut below = 0;
    for part in parts {
        below += 1;
        if below > DEEPEST || (address(part).is_none() && slot(part).is_none()) {
            return None;
        }
    }
    Some((Place(place.to_owned()), rest))
}

/// A whole address. The hexadecimal lines of a dump and words of text have no dot in this place.
fn address(text: &str) -> Option<PciAddress> {
    if !text.contains(':') { None } else { text.parse().ok() }
}

/// `1c.0`: device and function on the bus below.
fn slot(text: &str) -> Option<(u8, u8)> {
    let (device, function) = text.split_once('.')?;
    let number = |digits| u8::from_str_radix(digits, 16).ok();
    if device.starts_with('+') || function.starts_with('+') {
        return None;
    }
    Some((number(device)?, number(function)?))
}

/// The buses below the bridges met so far, by the places of the bridges.
#[derive(Default)]
pub(super) struct Buses(HashMap<String, (PciAddress, Option<u8>)>);

impl Buses {
    /// The address of a place and the functions above it; `None` where the path needs the number
    /// of a bus below a bridge that was not listed before.
    pub(super) fn resolve(&self, place: &Place) -> Option<(PciAddress, Fact<Vec<PciAddress>>)> {
        let Some((above, last)) = place.0.rsplit_once('/') else {
            return Some((address(&place.0)?, Fact::Unknown(Unknown::NotInSource)));
        };
        let mut functions = Vec::new();
        let mut domain = 0;
        for (at, _) in above.match_indices('/').chain([(above.len(), "")]) {
            let prefix = above.get(..at)?;
            let part = prefix.rsplit('/').next()?;
            let known = match address(part) {
                // A path of whole addresses names the domain in its first part alone.
                Some(address) if functions.is_empty() => {
                    domain = address.domain();
                    address
                }
                Some(address) => in_domain(address, domain)?,
                None => self.0.get(prefix)?.0,
            };
            functions.push(known);
        }
        let address = match address(last) {
            Some(address) => in_domain(address, domain)?,
            None => {
                let (bridge, bus) = self.0.get(above)?;
                let (device, function) = slot(last)?;
                PciAddress::new(bridge.domain(), (*bus)?, device, function)?
            }
        };
        Some((address, Fact::Known(functions)))
    }

    /// Remembers the bus below `function`, which was printed at `place`.
    pub(super) fn enter(&mut self, place: &Place, function: &Function) {
        self.0.insert(place.0.clone(), (function.address, function.secondary_bus()));
    }
}

fn in_domain(address: PciAddress, domain: u32) -> Option<PciAddress> {
    let domain = if address.domain() == 0 { domain } else { address.domain() };
    PciAddress::new(domain, address.bus(), address.device(), address.function())
}
