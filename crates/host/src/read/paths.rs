//! A function's path in sysfs: what is above it.

use ringfence_addr::PciAddress;

/// Functions above another, at most: each bus on the way has a number of its own, of which a domain
/// has 256, and a domain that a driver made is below a second one.
const MOST: usize = 512;

/// The functions above `address`, outermost first, by a path such as
/// `pci0000:00/0000:00:01.0/0000:01:00.0`, which ends with `address`; `None` if it
/// does not, or is longer than any can be.
///
/// Parts that are no functions (`pci0000:00`, and whatever made the domain) are left out.
pub(super) fn above(path: &str, address: PciAddress) -> Option<Vec<PciAddress>> {
    // Nobody reads the error that others would make.
    let parts = path.split('/').filter(|part| !part.starts_with("pci"));
    let mut functions: Vec<PciAddress> =
        parts.filter_map(|part| part.parse().ok()).take(MOST + 2).collect();
    (functions.pop()? == address && functions.len() <= MOST).then_some(functions)
}
