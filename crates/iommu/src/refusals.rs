//! Everything that is refused before the kernel is asked, from `RF0901` on.

use ringfence_refusal::Code;

/// All of them, in order.
pub static CATALOGUE: &[&Code] = &[
    &OUTSIDE_APERTURE,
    &ALREADY_MAPPED,
    &NOT_MAPPED,
    &NOT_PAGES,
    &NOT_ALL_MAPPED,
    &BEYOND_REACH,
    &NO_RIGHT_LEFT,
    &NO_TABLES,
    &UNSUPPORTED,
];

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
    /// A page of them is not mapped.
    NOT_ALL_MAPPED = 905, "not all of it mapped":
        "Bus addresses were to be unmapped, or their rights narrowed, and a page of them is not mapped.";
        "Name only what is mapped: the detail says which page is not.";
        "In page tables of our own any page can be taken out of a mapping. What is asked for is done as a \
         whole or not at all, so that whoever asks knows afterwards that every page he named was there and is \
         gone.";
    /// An entry cannot name this memory.
    BEYOND_REACH = 906, "memory beyond the IOMMU's reach":
        "Memory was to be mapped whose address is higher than the IOMMU's tables can say.";
        "Use lower memory: the detail says which there is.";
        "An entry of a page table has room for 52 address bits, and an IOMMU may have fewer (`HAW` in the \
         DMAR, `PASize` in the IVRS). A higher address would be cut to another one.";
    /// A mapping that lets nobody do anything.
    NO_RIGHT_LEFT = 907, "no right left":
        "A mapping was to let devices neither read nor write.";
        "Unmap it: a page with no rights is a page that is not mapped.";
        "Rights only narrow. Where narrowing would leave none, the entry would say that nothing is mapped \
         there, while whoever asked believed that something was.";
    /// The memory set apart for tables is used up.
    NO_TABLES = 908, "no room for page tables":
        "The memory that was set apart for an IOMMU's page tables is used up.";
        "Map larger and better aligned pieces, or set more memory apart; what was unmapped gives its tables \
         back once it is flushed.";
        "Tables are counted before anything is changed, so nothing is half mapped. Pages of 2 MiB and 1 GiB, \
         used wherever both addresses are aligned to them, need the fewest.";
    /// The IOMMU has no such tables.
    UNSUPPORTED = 909, "no such page tables":
        "The IOMMU does not walk page tables with so many levels.";
        "Choose one of the numbers in the detail.";
        "VT-d says in its capability register which numbers of levels it walks (`SAGAW`), AMD's IOMMU up to how \
         many (`HATS`). The number is fixed when the tables are made: an IOMMU could see it change before the \
         topmost table does.";
}
