//! Of IVRS.

use super::{FindingCode, Severity};

codes! {
    /// A block says its length is zero.
    IVRS_ZERO_LENGTH = "ivrs-zero-length", Error:
        "A block is of length zero.";
        "Loops for ever at boot.";
        "Loops for ever at boot.";
    /// A block runs over the end.
    IVRS_PAST_END = "ivrs-past-end", Error:
        "A block runs over the end of the table, or is no whole one.";
        "Reads on behind the table.";
        "Refuses the table: no AMD IOMMU.";
    /// Too short for its type.
    IVRS_SHORT = "ivrs-block-short", Error:
        "A block is too short for the fields of its type.";
        "Reads the fields from the block behind it.";
        "Refuses the table: no AMD IOMMU.";
    /// A type that is not known.
    IVRS_UNKNOWN = "ivrs-unknown-block", Note:
        "A block is of a type this program does not know.";
        "Skips it.";
        "Skips it.";
    /// No IOMMU.
    IVRS_NO_UNITS = "ivrs-no-units", Warning:
        "The table names no IOMMU.";
        "No AMD IOMMU is used.";
        "\"Cannot find supported IVHD type\": no AMD IOMMU.";
    /// Registers at no address.
    IVHD_BASE = "ivhd-base", Error:
        "An IOMMU's registers are said to be at zero.";
        "Takes what is there for registers.";
        "Refuses the table: no AMD IOMMU.";
    /// Registers within 16 KiB.
    IVHD_UNALIGNED = "ivhd-unaligned", Error:
        "An IOMMU's registers are said not to begin at a multiple of 16 KiB.";
        "Takes what is there for registers.";
        "Takes what is there for registers.";
    /// An entry cut short.
    IVHD_ENTRY_BROKEN = "ivhd-entry-broken", Error:
        "A device entry runs over the end of its block, or has no length.";
        "Reads on behind, or loops for ever at boot.";
        "Refuses the table: no AMD IOMMU.";
    /// A reserved type.
    IVHD_ENTRY_UNKNOWN = "ivhd-entry-unknown", Warning:
        "A device entry is of a reserved type.";
        "From 0x80 on it loops for ever at boot; others it skips.";
        "Refuses the table: no AMD IOMMU.";
    /// A range without its end.
    IVHD_RANGE = "ivhd-range", Error:
        "A range of devices has no end, no beginning, or ends before it begins.";
        "Leaves it out, or takes it from an entry before.";
        "Refuses the table: no AMD IOMMU.";
    /// Neither I/O APIC nor HPET.
    IVHD_SPECIAL = "ivhd-special", Error:
        "A special device is neither an I/O APIC nor an HPET.";
        "Refuses the table: no AMD IOMMU.";
        "Refuses the table: no AMD IOMMU.";
    /// Not the specified size.
    IVMD_SIZE = "ivmd-size", Note:
        "A memory block is not 32 bytes long.";
        "Reads the fields it knows.";
        "Reads the fields it knows.";
    /// Length zero.
    IVMD_EMPTY = "ivmd-empty", Warning:
        "A memory block covers no byte.";
        "Makes a region of no length.";
        "Computes an end before the beginning.";
    /// Length of less than a page.
    IVMD_LENGTH = "ivmd-length", Warning:
        "A memory block is not a whole number of pages long.";
        "Rounds the length up.";
        "Rounds outward to pages.";
    /// Start within a page.
    IVMD_UNALIGNED = "ivmd-unaligned", Error:
        "A memory block does not begin at a page.";
        "Rounds the beginning up: the first bytes are not mapped, and bytes behind the end are.";
        "Rounds outward to pages.";
    /// Neither unity nor exclusion.
    IVMD_FLAGS = "ivmd-flags", Error:
        "A memory block is neither mapped at its own number nor excluded from translation.";
        "Ignores it.";
        "\"IVMD: invalid flag field\": the table is refused, no AMD IOMMU.";
    /// Excluded from translation.
    IVMD_EXCLUSION = "ivmd-exclusion", Warning:
        "A memory block is excluded from translation.";
        "Maps it at its own number for reading and writing instead, as `direct`: VFIO then refuses every device it names.";
        "Excludes it in the IOMMU, or maps it where there is an exclusion already.";
    /// Rights of one direction.
    IVMD_RIGHTS = "ivmd-rights", Note:
        "A memory block is mapped for reading only or for writing only.";
        "Does so.";
        "Swaps the two: what was to be read is written (iommu_acpi.c takes the bits crosswise).";
    /// Last before first.
    IVMD_RANGE = "ivmd-range", Error:
        "A memory block's last device is not behind its first.";
        "Takes a range of one; before the first, no device matches.";
        "\"IVMD: invalid Range_Last\": the table is refused, no AMD IOMMU.";
    /// Devices no IOMMU has.
    IVMD_BEYOND_LAST = "ivmd-beyond-last-device", Warning:
        "A memory block names requester ids above the last that any IOMMU has.";
        "Compares numbers, so those that exist match.";
        "\"IVMD: invalid Dev_Id\": the table is refused, no AMD IOMMU.";
    /// For the devices of an IOMMU.
    IVMD_PER_IOMMU = "ivmd-per-iommu", Warning:
        "A memory block is for all devices of an IOMMU (type 0x23).";
        "Ignores it; behind the last IVHD of the first IOMMU, takes its type for that of IOMMUs and uses none.";
        "Maps it for them.";
    /// Two overlap for one device.
    IVMD_OVERLAP = "ivmd-overlap", Warning:
        "Two mapped memory blocks overlap, and share devices.";
        "Lists both as one.";
        "\"IVMD: overlap\": the table is refused, no AMD IOMMU.";
    /// Two overlap for one device, and one is excluded.
    IVMD_OVERLAP_EXCLUDED = "ivmd-overlap-excluded", Note:
        "Two memory blocks overlap and share devices, and at least one is excluded from translation.";
        "Lists both as one.";
        "Makes one exclusion of both, or maps one of them.";
    /// Over the HyperTransport hole.
    IVMD_HOLE = "ivmd-hypertransport", Error:
        "A memory block overlaps 0xfd00000000-0xffffffffff, which no device reaches on AMD.";
        "Lists both; requests there do not reach memory.";
        "Maps it; requests there do not reach memory.";
    /// Of an unknown IOMMU.
    IVMD_NO_UNIT = "ivmd-no-unit", Warning:
        "A memory block is for devices that no IOMMU of its segment translates for.";
        "Never uses it.";
        "\"no IOMMU for device\": ignores it.";
    /// Of an IOMMU that is not there.
    IVMD_NO_IOMMU = "ivmd-no-iommu", Error:
        "A memory block is for all devices of an IOMMU that the table does not have.";
        "Never uses it.";
        "\"IVMD: no IOMMU\": the table is refused, no AMD IOMMU.";
}
