//! Of IORT and VIOT.

use super::{FindingCode, Severity};

codes! {
    /// More or fewer nodes than stated.
    IORT_NODES = "iort-nodes", Error:
        "The table does not hold the nodes it says, or not where it says.";
        "\"IORT node pointer overflows, bad table!\" and stops looking, or never sees the others.";
        "Arm only: reads on behind the table.";
    /// A type that is not known.
    IORT_UNKNOWN = "iort-unknown-node", Note:
        "A node is of a type this program does not know, or too short for its type.";
        "Skips it.";
        "Skips it.";
    /// Mappings outside the node.
    IORT_MAPPINGS = "iort-mappings", Error:
        "A node's id mappings are not all within it.";
        "Reads them from behind the node.";
        "Reads them from behind the node.";
    /// Output at no node.
    IORT_OUTPUT = "iort-output", Error:
        "An id mapping leads to no node.";
        "Reads whatever is there as a node; zero is skipped with \"NULL parent reference\".";
        "Reads whatever is there as a node.";
    /// Ids run over.
    IORT_IDS = "iort-ids", Warning:
        "The ids of a mapping run over the last there is.";
        "Computes ids that wrapped.";
        "Computes ids that wrapped.";
    /// Two nodes of one id.
    IORT_SAME_ID = "iort-same-id", Note:
        "Two nodes have the same number.";
        "Never looks at it.";
        "Never looks at it.";
    /// Before the revision that has them.
    RMR_REVISION = "rmr-revision", Error:
        "The table has reserved memory, and a revision before 5, which has none.";
        "Ignores all of it.";
        "Ignores reserved memory.";
    /// Of nobody.
    RMR_NO_MAPPING = "rmr-no-mapping", Error:
        "Reserved memory is of no stream of any SMMU.";
        "\"Invalid ID mapping, skipping RMR node\".";
        "Ignores reserved memory.";
    /// Not of an SMMU.
    RMR_NOT_SMMU = "rmr-not-smmu", Error:
        "Reserved memory is of streams of a node that is no SMMU.";
        "Never uses it.";
        "Ignores reserved memory.";
    /// No pieces.
    RMR_NO_PIECES = "rmr-no-descriptors", Error:
        "Reserved memory has no descriptors, or not as many as it says.";
        "\"Invalid RMR descriptor array, skipping RMR node\", or reads on behind the node.";
        "Ignores reserved memory.";
    /// Not at 64 KiB.
    RMR_UNALIGNED = "rmr-unaligned", Warning:
        "Reserved memory does not begin and end at 64 KiB.";
        "\"not aligned to 64K\", and rounds outward to 4 KiB pages.";
        "Ignores reserved memory.";
    /// Over the page of the interrupt controller.
    RMR_OVER_MSI = "rmr-over-software-msi", Warning:
        "Reserved memory overlaps 0x8000000-0x80fffff, where Linux puts the interrupt controller's page.";
        "Lists both; interrupts of a device that is given to a VM may not work.";
        "Ignores reserved memory.";
    /// Length zero.
    RMR_EMPTY = "rmr-empty", Warning:
        "Reserved memory covers no byte.";
        "\"with zero length, continue anyway\".";
        "Ignores reserved memory.";
    /// Two overlap.
    RMR_OVERLAP = "rmr-overlap", Warning:
        "Two pieces of a node's reserved memory overlap.";
        "\"overlaps, continue anyway\".";
        "Ignores reserved memory.";
    /// Whether the firmware asked to keep the setup.
    RMR_NEEDS_DSM = "rmr-needs-dsm", Note:
        "Reserved memory of PCI functions counts only if the host bridge asks to keep firmware's setup.";
        "Ignores it without a word unless _DSM function 5 of the host bridge returns 0.";
        "Ignores reserved memory.";
    /// More or fewer nodes than stated.
    VIOT_NODES = "viot-nodes", Error:
        "The table does not hold the nodes it says, or not where it says.";
        "\"VIOT: bad node pointer\": nothing of the table is used.";
        "Never reads VIOT.";
    /// A type that is not known.
    VIOT_UNKNOWN = "viot-unknown-node", Note:
        "A node is of a type this program does not know, or too short for its type.";
        "Skips it with a warning.";
        "Never reads VIOT.";
    /// Last before first.
    VIOT_RANGE = "viot-range", Error:
        "A range of PCI functions ends before it begins.";
        "No function matches it.";
        "Never reads VIOT.";
    /// Output at no IOMMU.
    VIOT_OUTPUT = "viot-output", Error:
        "A node is behind an IOMMU that is none.";
        "Leaves the node out.";
        "Never reads VIOT.";
}
