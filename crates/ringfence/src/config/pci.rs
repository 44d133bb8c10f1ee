//! The keys of a `[[device]]` of kind `pci`: a host function that is given to the VM.

use std::ops::Range;

use ringfence_addr::{Alignment, Hpa, PciAddress, Span};
use ringfence_plan::Policy;

use super::problem::Page;
use super::reader::{Found, Table};
use crate::refusals;

/// A host function that is given to the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) address: PciAddress,
    /// What shall be done about what firmware reserved for it.
    pub(crate) regions: Option<Policy>,
    /// Where the guest finds it.
    pub(crate) guest: Option<PciAddress>,
    /// Where firmware put the memory it took for it, page table and data, if somebody says so.
    pub(crate) stolen: Option<Span<Hpa>>,
    /// It is plugged while the VM runs.
    pub(crate) later: bool,
}

pub(super) fn decode(table: &Table<'_>) -> Option<Function> {
    let address = table.required("address", "\"0000:01:00.0\"", table.text("address"));
    let policies = Policy::ALL.map(|policy| (policy.name(), policy));
    let regions = table.choice("regions", &policies);
    let later = table.switch("later").unwrap_or(false);
    let guest = guest_address(table);
    let stolen = stolen(table);
    let address = address.and_then(|text| parse(table, "address", &text));
    table.finish();
    Some(Function { address: address?, regions, guest, stolen, later })
}

fn parse(table: &Table<'_>, key: &str, text: &Found<&str>) -> Option<PciAddress> {
    let address = text.value.parse::<PciAddress>();
    if let Err(error) = &address {
        let detail = format!("`{key}`: {error}");
        table.report(&text.span, &refusals::BAD_VALUE, detail);
    }
    address.ok()
}

/// Where the memory is that firmware took for the function.
fn stolen(table: &Table<'_>) -> Option<Span<Hpa>> {
    let text = table.text("stolen")?;
    let span = text.value.parse::<Span<Hpa>>();
    let aligned = span.map(|span| span.is_aligned(Alignment::PAGE_4K).then_some(span));
    let detail = match aligned {
        Ok(Some(span)) => return Some(span),
        Ok(None) => format!("`stolen`: {} is not whole pages of 4 KiB", text.value),
        Err(error) => format!("`stolen`: {error}"),
    };
    table.report(&text.span, &refusals::BAD_VALUE, detail);
    None
}

/// Where the guest finds the device.
pub(super) fn guest_address(table: &Table<'_>) -> Option<PciAddress> {
    let text = table.text("guest_address")?;
    let address = parse(table, "guest_address", &text)?;
    if address.domain() != 0 {
        let detail = format!("`guest_address`: {address}; a guest has segment 0000 and no other");
        table.report(&text.span, &refusals::BAD_VALUE, detail);
        return None;
    }
    Some(address)
}

/// Each device has a place of its own in the guest.
pub(super) fn check_guest_addresses(
    page: &Page<'_>,
    guests: &[(Range<usize>, Option<PciAddress>)],
) {
    for (place, (span, guest)) in guests.iter().enumerate() {
        let Some(guest) = guest else { continue };
        if guests[..place].iter().any(|(_, other)| other.as_ref() == Some(guest)) {
            let detail = format!("`guest_address`: another device is at `{guest}` already");
            page.report(span.clone(), &refusals::BAD_VALUE, detail);
        }
    }
}

/// Each function is given once.
pub(super) fn check_addresses(page: &Page<'_>, functions: &[(Range<usize>, Function)]) {
    for (place, (span, function)) in functions.iter().enumerate() {
        if functions[..place].iter().any(|(_, other)| other.address == function.address) {
            let detail = format!("`{}` is given twice", function.address);
            page.report(span.clone(), &refusals::BAD_VALUE, detail);
        }
    }
}
