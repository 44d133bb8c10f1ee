//! Of DMAR.

use super::{FindingCode, Severity};

codes! {
    /// A structure says its length is zero.
    DMAR_ZERO_LENGTH = "dmar-zero-length", Error:
        "A structure of length zero ends the table early.";
        "Uses what comes before, then loops for ever at boot, looking for names of ACPI devices.";
        "Refuses the table: VT-d stays off.";
    /// A structure runs over the end.
    DMAR_PAST_END = "dmar-past-end", Error:
        "A structure runs over the end of the table, or is no whole one.";
        "\"Record passes table end\": the table is refused and VT-d stays off.";
        "Reads on behind the table.";
    /// Too short for its type.
    DMAR_SHORT = "dmar-structure-short", Error:
        "A structure is too short for the fields of its type.";
        "Reads the fields from the structure behind it.";
        "Refuses the table: VT-d stays off.";
    /// A type that is not known.
    DMAR_UNKNOWN = "dmar-unknown-structure", Note:
        "A structure is of a type this program does not know.";
        "Skips it.";
        "Skips it.";
    /// Too narrow to be true.
    DMAR_WIDTH = "dmar-address-width", Error:
        "The host address width is none that an IOMMU has (32 to 57 bits).";
        "Below 12 bits the table is refused; otherwise the number is only printed.";
        "A width field of zero is refused; otherwise the number is only printed.";
    /// No unit.
    DMAR_NO_UNITS = "dmar-no-units", Warning:
        "The table names no remapping unit.";
        "\"No DMAR devices found\": VT-d stays off.";
        "VT-d stays off.";
    /// Base address no registers are at.
    DRHD_BASE = "drhd-base", Error:
        "A unit's registers are said to be at zero, or at the last address.";
        "\"Your BIOS is broken; DMAR reported at address 0\": VT-d stays off.";
        "Refuses the table: VT-d stays off.";
    /// Base address within a page.
    DRHD_UNALIGNED = "drhd-unaligned", Error:
        "A unit's registers are said not to begin at a page.";
        "Reads registers there; VT-d stays off if they are none.";
        "Reads registers there.";
    /// Two units at one address.
    DRHD_TWICE = "drhd-twice", Warning:
        "Two units of a segment are said to be at the same address.";
        "Takes the first and forgets the second with its scopes.";
        "Sets up both.";
    /// Two include all.
    DRHD_TWO_ALL = "drhd-two-include-all", Error:
        "Two units of a segment claim every device that no other names.";
        "Takes the first.";
        "In segment 0, refuses the table: VT-d stays off.";
    /// It is not the last.
    DRHD_ALL_NOT_LAST = "drhd-include-all-not-last", Note:
        "The unit that claims every other device is not the last of its segment.";
        "Puts it last itself.";
        "Puts it last itself.";
    /// Broken scopes.
    SCOPE_BROKEN = "scope-broken", Error:
        "A device scope is shorter than a scope or runs over the end of its structure.";
        "A length of zero makes the kernel loop for ever at boot; otherwise it reads on behind.";
        "\"Invalid device scope\": the table is refused and VT-d stays off.";
    /// A path with half a hop.
    SCOPE_PATH = "scope-path", Error:
        "A device scope has half a hop in its path, or a number that no device has.";
        "No function matches it.";
        "Takes the number for that of another function.";
    /// A path of no hop.
    SCOPE_NO_PATH = "scope-no-path", Error:
        "A device scope has no path.";
        "No function matches it.";
        "\"Invalid device scope\": the table is refused and VT-d stays off.";
    /// A type that is not known.
    SCOPE_UNKNOWN = "scope-unknown", Note:
        "A device scope is of a type this program does not know.";
        "\"Unsupported device scope\": skipped.";
        "Skipped.";
    /// Listed twice.
    SCOPE_TWICE = "scope-twice", Note:
        "A structure names the same device twice.";
        "Lists the device once.";
        "Counts it twice, to no effect.";
    /// Two units name the same device.
    SCOPE_TWO_UNITS = "scope-two-units", Warning:
        "Two units name the same device.";
        "The unit that comes last in the table gets it.";
        "The unit that comes last in the table gets it.";
    /// No function is there.
    SCOPE_NO_DEVICE = "scope-no-device", Warning:
        "A device scope names a function that the host does not have.";
        "Leaves the scope empty; a reserved region of such scopes only is used by nobody.";
        "Warns; a reserved region of such scopes only is ignored.";
    /// Endpoint scope on a bridge.
    SCOPE_KIND = "scope-kind", Error:
        "A device scope of type endpoint names a bridge, or one of type bridge an endpoint.";
        "\"Device scope type does not match\": VT-d stays off.";
        "Reads bus numbers from registers that are none.";
    /// Base or end in the middle of a page.
    RMRR_UNALIGNED = "rmrr-unaligned", Warning:
        "A reserved region does not begin and end at pages.";
        "\"Your BIOS is broken; bad RMRR\", taints the kernel, and lists the region as it stands.";
        "Rounds outward to pages.";
    /// End below base.
    RMRR_INVERTED = "rmrr-inverted", Error:
        "A reserved region ends before it begins.";
        "\"Your BIOS is broken; bad RMRR\", and goes on with a length that wrapped.";
        "Refuses the table: VT-d stays off.";
    /// Beyond the address width.
    RMRR_BEYOND_WIDTH = "rmrr-beyond-width", Error:
        "A reserved region lies beyond the host address width that the table states.";
        "Maps it; no unit can translate it.";
        "Maps it; no unit can translate it.";
    /// Two overlap.
    RMRR_OVERLAP = "rmrr-overlap", Warning:
        "Two reserved regions overlap.";
        "Lists both, or one if they are of the same kind.";
        "\"Overlapping RMRRs\": the table is refused and VT-d stays off.";
    /// Of nobody.
    RMRR_NO_SCOPE = "rmrr-no-scope", Warning:
        "A reserved region names no device.";
        "Reserves it for nobody.";
        "Reserves it for nobody.";
    /// Of several.
    RMRR_SHARED = "rmrr-shared", Note:
        "A reserved region is of several devices: given to different VMs they would share it.";
        "Allows that, without a word.";
        "Refuses to assign such a device, unless rdm_policy is relaxed.";
    /// Device without a unit.
    RMRR_NO_UNIT = "rmrr-no-unit", Error:
        "A reserved region names a device that no unit translates for.";
        "Gives the device no IOMMU: the region is not reserved and the device is not confined.";
        "Gives the device no IOMMU: it cannot be assigned.";
    /// No zero at the end.
    ANDD_NAME = "andd-name", Error:
        "The name of an ACPI device has no zero at its end.";
        "Refuses the table: VT-d stays off.";
        "Never looks at it.";
    /// Affinity of nobody.
    RHSA_NO_UNIT = "rhsa-no-unit", Warning:
        "A proximity domain is stated for a unit that is not there.";
        "Warns and taints the kernel.";
        "Never finds it.";
    /// Two for all ports.
    ATSR_TWO_ALL = "atsr-two-all-ports", Error:
        "Two structures claim all root ports of a segment for ATS.";
        "Takes both.";
        "In segment 0, refuses the table: VT-d stays off.";
}
