//! What Linux makes of a region in a table, which turns on whose it is.

use ringfence_addr::{Alignment, Hpa, PciAddress, Span};
use ringfence_tables::{RegionKind as Tabled, ReservedRegion};

use crate::fact::Fact;
use crate::function::Class;
use crate::host::Host;

use super::{RegionKind, Role};

/// What a region is for one of its owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Meaning {
    pub(super) kind: RegionKind,
    pub(super) role: Role,
    /// It rests on no class code that was read.
    pub(super) asserted: bool,
}

/// What `region` is for `owner`: of memory that DMAR reserves Linux gives up what graphics and USB
/// have (`device_rmrr_is_relaxable`), all that IVRS has it keeps, and IORT says it itself.
pub(super) fn meaning(host: &Host, region: &ReservedRegion, owner: PciAddress) -> Meaning {
    let function = host.function(owner);
    let class = function.map_or(Fact::default(), |function| function.identity.class);
    let asserted = !class.is_known();
    let role = match class {
        Fact::Known(Class { base: 0x03, .. }) => Role::Graphics,
        Fact::Known(Class { base: 0x0c, sub: 0x03, .. }) => Role::Usb,
        Fact::Unknown(_) if is_graphics(region, owner) => Role::Graphics,
        _ => Role::Other,
    };
    let kind = match region.kind {
        Tabled::Rmrr if role != Role::Other => RegionKind::Relaxable,
        Tabled::Rmr if region.may_remap => RegionKind::Relaxable,
        Tabled::Rmrr | Tabled::Rmr | Tabled::IvmdUnity | Tabled::IvmdExclusion => {
            RegionKind::Direct
        }
    };
    Meaning { kind, role, asserted: asserted && region.kind == Tabled::Rmrr }
}

/// What a region is for nobody in particular.
pub(super) fn meaning_for_any(region: &ReservedRegion) -> Meaning {
    let relaxable = region.kind == Tabled::Rmr && region.may_remap;
    let kind = if relaxable { RegionKind::Relaxable } else { RegionKind::Direct };
    Meaning { kind, role: Role::Other, asserted: region.kind == Tabled::Rmrr }
}

/// Whether it is Intel's graphics by its place and the shape of its memory: a page table of 2, 4 or
/// 8 MiB and whole 32 MiB behind it, which is so of all but one of 266 real ones.
fn is_graphics(region: &ReservedRegion, owner: PciAddress) -> bool {
    let is_place = owner.domain() == 0 && owner.requester_id() == 2 << 3;
    is_place && region.kind == Tabled::Rmrr && has_graphics_shape(region.span)
}

fn has_graphics_shape(span: Span<Hpa>) -> bool {
    const MIB: u64 = 1 << 20;
    let Some(length) = span.length_u64() else { return false };
    let is_data = |page_table: u64| {
        let data = length.get().checked_sub(page_table * MIB);
        data.is_some_and(|data| data > 0 && data % (32 * MIB) == 0)
    };
    span.is_aligned(Alignment::PAGE_2M) && [2, 4, 8].into_iter().any(is_data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphics_memory_has_its_shape() {
        for (span, expected) in [
            ("0x9c000000-0xa07fffff", true),
            ("0xdd800000-0xdf9fffff", true),
            ("0x7c000000-0x7fffffff", false),
            ("0x9c100000-0xa08fffff", false),
            ("0x9c000000-0x9c7fffff", false),
            ("0x8b72e000-0x8b977fff", false),
            ("0x0-0xffffffffffffffff", false),
        ] {
            let span = span.parse().expect("a span");
            assert_eq!(has_graphics_shape(span), expected, "{span}");
        }
    }
}
