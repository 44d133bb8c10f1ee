//! An IORT with an RMR node for each region, and what leads from a device to it: a root complex, an
//! SMMU, interrupt translation.
//!
//! Arm DEN 0049 E.d: RMR nodes came with revision 5 of the table.

use ringfence_tables::iort::{Descriptor, IdMapping, Iort, Node, SmmuInterrupts};
use ringfence_tables::{Content, Header, Table};

use crate::viommu::GuestIommu;

/// Where QEMU's virt has its SMMU's registers (`VIRT_SMMU`).
pub(super) const REGISTERS: u64 = 0x905_0000;
/// And its interrupts: those shared by all processors begin at 32, these at 74 of them.
const INTERRUPTS: SmmuInterrupts =
    SmmuInterrupts { event: 106, page_request: 107, error: 109, sync: 108 };
pub(super) const INTERRUPTS_TEXT: &str =
    "106 (events), 107 (page requests), 108 (sync), 109 (errors)";
const REVISION: u8 = 6;
/// Inner and outer write back, shareable: ordinary memory.
const ATTRIBUTES: u32 = 5 << 2;

pub(super) fn table(told: &GuestIommu) -> Table {
    let mut iort = Iort::new(Vec::new());
    let mut push = |make: &dyn Fn(u32) -> Node, id: u32| {
        let at = iort.push(make(id));
        u32::try_from(at).expect("a table is shorter than 4 GiB")
    };
    let its = push(&|id| Node::its_group(id, &[0]), 0);
    let smmu = |id| Node::smmu_v3(id, REGISTERS, INTERRUPTS, &[IdMapping::whole(its)]);
    let smmu = push(&smmu, 1);
    push(&|id| Node::root_complex(id, 0, &[IdMapping::whole(smmu)]), 2);
    for (region, id) in told.regions.iter().zip(3..) {
        let streams = region.devices.iter();
        let streams: Vec<_> =
            streams.map(|at| IdMapping::one(at.requester_id().into(), smmu)).collect();
        let length = region.span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get);
        let piece = Descriptor { base: region.span.first().get(), length, reserved: 0 };
        push(&|id| Node::rmr(id, ATTRIBUTES, &streams, std::slice::from_ref(&piece)), id);
    }
    Table::new(Header::new(*b"IORT", REVISION), Content::Iort(iort))
}
