//! The root bus and its functions (IEEE 1275, PCI Bus Binding 2.1): three cells of address, of which the
//! first says which space and function, and two of size.

use ringfence_addr::{Gpa, PciAddress, Span, SpanSet};
use vm_fdt::FdtWriter;

use super::length;
use crate::map::{Plan, Use};

/// Memory with 32 and with 64 bits of address. Linux translates an address by a range of the same.
const SPACE_32: u32 = 0x0200_0000;
const SPACE_64: u32 = 0x0300_0000;

/// A function, and what of `/reserved-memory` is for it.
pub(super) struct Function {
    pub(super) at: PciAddress,
    pub(super) handle: u32,
    pub(super) memory: Vec<u32>,
}

/// One entry of `iommu-addresses`: the device, and where, in the cells of the bus that it is on.
pub(super) fn told(handle: u32, span: Span<Gpa>) -> [u32; 6] {
    let [space, high, low] = address(span.first());
    let [size_high, size_low] = cells(length(span));
    [handle, space, high, low, size_high, size_low]
}

pub(super) fn bus(
    tree: &mut FdtWriter,
    plan: &Plan,
    functions: impl Iterator<Item = Function>,
) -> Result<(), vm_fdt::Error> {
    let windows = plan.map.iter().filter(|entry| entry.usage == Use::Window);
    let windows: Vec<_> = windows.map(|entry| entry.span).collect();
    // By its first window, as a bus without registers of its own.
    let unit =
        windows.first().map_or_else(String::new, |span| format!("@{:x}", span.first().get()));
    let bus = tree.begin_node(&format!("pcie{unit}"))?;
    tree.property_string("device_type", "pci")?;
    tree.property_u32("#address-cells", 3)?;
    tree.property_u32("#size-cells", 2)?;
    let windows: Vec<_> = windows.into_iter().flat_map(range).collect();
    tree.property_array_u32("ranges", &windows)?;
    tree.property_array_u32("dma-ranges", &dma_ranges(plan))?;
    for Function { at, handle, memory } in functions {
        let node = tree.begin_node(&format!("device@{:x},{:x}", at.device(), at.function()))?;
        let configuration = u32::from(at.requester_id()) << 8;
        tree.property_array_u32("reg", &[configuration, 0, 0, 0, 0])?;
        if !memory.is_empty() {
            tree.property_array_u32("memory-region", &memory)?;
        }
        tree.property_phandle(handle)?;
        tree.end_node(node)?;
    }
    tree.end_node(bus)
}

/// What devices may reach, at its own number: everything that can be addressed but holes, which a
/// kernel with an IOMMU gives to no buffer then.
fn dma_ranges(plan: &Plan) -> Vec<u32> {
    let bits = plan.settings.address_bits.min(63);
    let last = Gpa::new((1 << bits) - 1);
    let mut reached: SpanSet<Gpa> = Span::new(Gpa::new(0), last).into_iter().collect();
    for hole in plan.map.iter().filter(|entry| entry.usage == Use::Hole) {
        reached.remove(hole.span);
    }
    let pieces = reached.iter().flat_map(|span| match span.split_at(Gpa::new(1 << 32)) {
        Some((below, above)) => vec![below, above],
        None => vec![span],
    });
    pieces.flat_map(range).collect()
}

/// The bus's address, the same as the guest's, and the length.
fn range(span: Span<Gpa>) -> [u32; 7] {
    let [space, high, low] = address(span.first());
    let [size_high, size_low] = cells(length(span));
    [space, high, low, high, low, size_high, size_low]
}

fn address(at: Gpa) -> [u32; 3] {
    let [high, low] = cells(at.get());
    [if high == 0 { SPACE_32 } else { SPACE_64 }, high, low]
}

fn cells(number: u64) -> [u32; 2] {
    let half = |number: u64| u32::try_from(number & u64::from(u32::MAX)).expect("half of it");
    [half(number >> 32), half(number)]
}
