//! The keys of a `[[device]]` of kind `pci`: a host function that is given to the VM.

use std::ops::Range;

use ringfence_addr::PciAddress;
use ringfence_plan::Policy;

use super::problem::Page;
use super::reader::Table;
use crate::refusals;

/// A host function that is given to the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) address: PciAddress,
    /// What shall be done about what firmware reserved for it.
    pub(crate) regions: Option<Policy>,
    /// It is plugged while the VM runs.
    pub(crate) later: bool,
}

pub(super) fn decode(table: &Table<'_>) -> Option<Function> {
    let address = table.required("address", "\"0000:01:00.0\"", table.text("address"));
    let policies = Policy::ALL.map(|policy| (policy.name(), policy));
    let regions = table.choice("regions", &policies);
    let later = table.switch("later").unwrap_or(false);
    let address = address.and_then(|text| {
        let address = text.value.parse::<PciAddress>();
        if let Err(error) = &address {
            let detail = format!("`address`: {error}");
            table.report(&text.span, &refusals::BAD_VALUE, detail);
        }
        address.ok()
    });
    table.finish();
    Some(Function { address: address?, regions, later })
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
