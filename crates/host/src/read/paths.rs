//! A function's path in sysfs: what is above it.

use ringfence_addr::PciAddress;

/// The functions above `address`, outermost first, by a path such as
/// `pci0000:00/0000:00:01.0/0000:01:00.0`, which ends with `address`; `None` if it does not.
///
/// Parts that are no functions (`pci0000:00`, and whatever made the domain) are left out.
pub(super) fn above(path: &str, address: PciAddress) -> Option<Vec<PciAddress>> {
    let mut functions: Vec<PciAddress> =
        path.split('/').filter_map(|part| part.parse().ok()).collect();
    (functions.pop()? == address).then_some(functions)
}
