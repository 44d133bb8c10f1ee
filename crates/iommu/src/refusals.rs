//! Everything that is refused before the kernel is asked, from `RF0901` on.

use ringfence_refusal::Code;

/// All of them, in order.
pub static CATALOGUE: &[&Code] = &[&OUTSIDE_APERTURE, &ALREADY_MAPPED, &NOT_MAPPED, &NOT_PAGES];

ringfence_refusal::codes! {
    /// Bus addresses that cannot be translated.
    OUTSIDE_APERTURE = 901, "outside what can be mapped":
        "Bus addresses were to be mapped that lie outside every range the IOMMU translates.";
        "Plan the guest's memory (`ringfence plan`): the detail says which ranges there are.";
        "VFIO lists the ranges of bus addresses that can be mapped for a container. A mapping lies in one of \
         them; interrupt windows and regions of firmware's lie in none.";
    /// Bus addresses that are taken.
    ALREADY_MAPPED = 902, "bus addresses in use":
        "Bus addresses were to be mapped that are mapped already.";
        "Unmap what is there first, or choose other addresses.";
        "The kernel never replaces a mapping, and neither do we: a device would go on reaching what was there \
         until its translations are flushed.";
    /// Nothing is mapped so.
    NOT_MAPPED = 903, "not a mapping":
        "Bus addresses were to be unmapped that are no mapping, or only a part of one.";
        "Unmap exactly what was mapped.";
        "The kernel would take whole mappings away that lie in what it is given, and say how much that was. So \
         only whole mappings are unmapped here.";
    /// No whole pages.
    NOT_PAGES = 904, "not whole pages":
        "Addresses or lengths to be mapped are no multiple of a page, or memory and bus addresses differ in \
         length.";
        "Round outward to multiples of 4 KiB, and give as much memory as bus addresses.";
        "An IOMMU translates pages. What lies beside a piece of a page would be reachable, too.";
}
