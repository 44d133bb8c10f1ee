//! Of any table.

use super::{FindingCode, Severity};

codes! {
    /// The header's length is below that of a header.
    LENGTH_BELOW_HEADER = "length-below-header", Error:
        "The table says that it is shorter than its own header.";
        "ACPICA reports an invalid length and the table is not used.";
        "ACPI code maps what the length says; the table is not used.";
    /// Less is there than the header says.
    LENGTH_BEYOND_FILE = "length-beyond-file", Error:
        "The table says that it is longer than what there is of it.";
        "Reads the length from the header and would read on behind what was given here.";
        "Reads the length from the header and would read on behind what was given here.";
    /// More is there than the header says.
    BYTES_BEHIND = "bytes-behind", Note:
        "Bytes follow behind the end of the table.";
        "Never looks at them.";
        "Never looks at them.";
    /// The sum is not zero.
    CHECKSUM = "checksum", Error:
        "The bytes of the table do not add up to zero.";
        "An IVRS is refused (no AMD IOMMU); for others ACPICA warns and the table is used.";
        "An IVRS is refused (no AMD IOMMU); others are used.";
    /// Shorter than its fixed part.
    FIXED_PART_SHORT = "fixed-part-short", Error:
        "The table ends before the fields that every table of its kind has.";
        "Reads them from behind the table.";
        "Reads them from behind the table.";
    /// A region runs over the last address.
    REGION_WRAPS = "region-wraps", Error:
        "A region's start and length run over the last address there is.";
        "Computes a wrapped end; what is mapped is not what was meant.";
        "Computes a wrapped end; the region is not addressable and is skipped or refused.";
    /// A region in the first MiB.
    REGION_LOW = "region-below-1m", Warning:
        "A region lies below 1 MiB, where a PC's legacy areas are.";
        "Treats it as any other: a guest of the device has its first MiB overlaid.";
        "Treats it as any other; libxl cannot move a guest's first MiB and refuses or hides the region.";
    /// A region over the MSI window.
    REGION_MSI = "region-over-msi", Error:
        "A region overlaps 0xfee00000-0xfeefffff, where writes are interrupts.";
        "Lists both the region and the MSI window; requests there never reach memory.";
        "Maps it; requests there never reach memory.";
    /// A region above 4 GiB.
    REGION_HIGH = "region-above-4g", Note:
        "A region lies above 4 GiB.";
        "Treats it as any other.";
        "The hypervisor maps it; libxl does not part a guest's high memory around it.";
    /// Nonzero reserved fields.
    RESERVED = "reserved-not-zero", Note:
        "A reserved field is not zero.";
        "Never looks at it.";
        "Never looks at it.";
}
