//! What functions are called.

use pci_ids::FromId;
use ringfence_host::{Fact, Function, Header};

/// What a function is called: by its source, by the list of ids, or by its class and ids.
///
/// Text of a source is an outsider's: control characters are taken out.
pub(crate) fn name(function: &Function) -> String {
    let identity = &function.identity;
    if let Some(name) = &identity.name {
        return crate::talk::printable(name);
    }
    let (Fact::Known(vendor), Fact::Known(device)) = (identity.vendor, identity.device) else {
        return class(function).unwrap_or("unknown").to_owned();
    };
    if let Some(known) = pci_ids::Device::from_vid_pid(vendor, device) {
        return format!("{} {}", short(known.vendor().name()), known.name());
    }
    let maker = pci_ids::Vendor::from_id(vendor).map_or_else(
        || format!("[{vendor:04x}:{device:04x}]"),
        |vendor| format!("{} [{device:04x}]", short(vendor.name())),
    );
    match class(function) {
        Some(class) => format!("{maker} {class}"),
        None => maker,
    }
}

/// `Red Hat, Inc.` → `Red Hat`: the form of a company tells nothing about a function.
fn short(vendor: &str) -> &str {
    let end = [", ", " Corporation", " Corp.", " Co.", " Inc", " Ltd", " Semiconductor"];
    let cut = end.iter().filter_map(|form| vendor.find(form)).min();
    cut.map_or(vendor, |cut| &vendor[..cut])
}

fn class(function: &Function) -> Option<&'static str> {
    let class = function.identity.class.known()?;
    let sub = pci_ids::Subclass::from_cid_sid(class.base, class.sub).map(|sub| sub.name());
    sub.or_else(|| pci_ids::Class::from_id(class.base).map(|class| class.name()))
}

/// What a function is in the tree.
pub(crate) fn kind(function: &Function) -> String {
    if matches!(function.physical_function, Fact::Known(Some(_))) {
        return "virtual function".to_owned();
    }
    match (&function.pcie, &function.header) {
        (Fact::Known(Some(pcie)), _) => pcie.port.to_string(),
        (Fact::Known(None), Fact::Known(Header::Bridge { .. })) => "PCI bridge".to_owned(),
        (Fact::Known(None), Fact::Known(Header::CardBus { .. })) => "CardBus bridge".to_owned(),
        (Fact::Known(None), _) => "conventional".to_owned(),
        (Fact::Unknown(_), Fact::Known(Header::Bridge { .. })) => "bridge".to_owned(),
        (Fact::Unknown(_), _) => "unknown".to_owned(),
    }
}
