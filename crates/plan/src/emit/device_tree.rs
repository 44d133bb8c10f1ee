//! A device tree: `/memory`, `/reserved-memory`, and the functions that something there is for.
//!
//! Devicetree Specification 0.4, sections 3.4 and 3.5; `reserved-memory.yaml` and
//! `shared-dma-pool.yaml` of dt-schema for `iommu-addresses` and `restricted-dma-pool`. What is kept
//! off is `no-map`, so that nobody maps it, speculation included.

mod pci;

use std::collections::BTreeMap;

use ringfence_addr::{Gpa, PciAddress, Span};
use ringfence_refusal::Refusal;
use vm_fdt::FdtWriter;

use crate::emit::{Consumer, Emitted, EmittedFile, cannot_express, holes, kept_off_memory};
use crate::map::{Plan, Use};
use crate::viommu::GuestRegion;

const FILE: &str = "ringfence.dtb";

/// Handles of nodes begin here. Linux goes cell by cell over what is for another device, and must not
/// take a part of an address for a handle: those of pages end in zeros, or are small.
const HANDLES: u32 = 0x5246_0001;

/// Something in `/reserved-memory`.
enum Kept<'a> {
    /// Kept off, for everybody.
    Off(Span<Gpa>),
    /// Kept off, and mapped one to one for devices.
    Told(&'a GuestRegion),
    /// All that a device reaches.
    Window(Span<Gpa>, PciAddress),
}

/// What the nodes are, and how they name each other.
struct Tree<'a> {
    kept: Vec<Kept<'a>>,
    /// The functions, and which of `kept` are theirs.
    functions: BTreeMap<PciAddress, Vec<usize>>,
}

pub(super) fn emit(plan: &Plan) -> Result<Emitted, Refusal> {
    let tree = Tree::of(plan);
    if let Some(at) = tree.functions.keys().find(|at| at.bus() != 0 || at.domain() != 0) {
        let what = format!(
            "{at} in the guest is behind a bridge, whose node is not known here; give the device an address \
             on the root bus"
        );
        return Err(cannot_express(Consumer::DeviceTree, what));
    }
    let bytes = blob(plan, &tree).map_err(|error| {
        cannot_express(Consumer::DeviceTree, format!("the tree cannot be written: {error}"))
    })?;
    let mut notes = Vec::new();
    let mut parts = vec!["/memory and /reserved-memory"];
    if !tree.functions.is_empty() {
        parts.push("the functions on pcie that it is for");
        notes.push(
            "Put what is in pcie into the node of the VMM's own host bridge, which has its registers and \
             iommu-map."
                .to_owned(),
        );
    }
    if !plan.windows.is_empty() {
        notes.push(
            "Debian's kernels are built without CONFIG_DMA_RESTRICTED_POOL: a restricted-dma-pool is kept \
             off there, and not used."
                .to_owned(),
        );
    }
    let text = format!("{FILE}: {}\n", parts.join(", "));
    Ok(Emitted { text, files: vec![EmittedFile { name: FILE, bytes }], notes })
}

impl<'a> Tree<'a> {
    fn of(plan: &'a Plan) -> Self {
        let told: Vec<_> = plan.viommu.iter().flat_map(|told| &told.regions).collect();
        let mut off: ringfence_addr::SpanSet<Gpa> =
            kept_off_memory(plan).into_iter().chain(holes(plan)).collect();
        told.iter().for_each(|region| off.remove(region.span));
        let mut kept: Vec<_> = off.iter().map(Kept::Off).collect();
        kept.extend(told.into_iter().map(Kept::Told));
        kept.extend(plan.windows.iter().map(|window| Kept::Window(window.span, window.guest)));
        kept.sort_by_key(|one| one.span().first());
        let guests = plan.functions.iter().map(|function| (function.guest, Vec::new()));
        let mut functions: BTreeMap<_, Vec<usize>> = guests.collect();
        for (place, one) in kept.iter().enumerate() {
            match one {
                Kept::Off(_) => {}
                Kept::Told(region) => {
                    for device in &region.devices {
                        functions.entry(*device).or_default().push(place);
                    }
                }
                Kept::Window(_, device) => functions.entry(*device).or_default().push(place),
            }
        }
        Self { kept, functions }
    }

    /// The handle of one of `kept`.
    fn handle(place: usize) -> u32 {
        HANDLES.saturating_add(u32::try_from(place).unwrap_or(u32::MAX))
    }

    /// The handle of a function.
    fn function_handle(&self, at: PciAddress) -> u32 {
        let place = self.functions.keys().position(|function| *function == at);
        Self::handle(self.kept.len() + place.unwrap_or_default())
    }
}

impl Kept<'_> {
    fn span(&self) -> Span<Gpa> {
        match self {
            Self::Off(span) | Self::Window(span, _) => *span,
            Self::Told(region) => region.span,
        }
    }
}

fn blob(plan: &Plan, all: &Tree<'_>) -> Result<Vec<u8>, vm_fdt::Error> {
    let mut tree = FdtWriter::new()?;
    let root = tree.begin_node("")?;
    tree.property_u32("#address-cells", 2)?;
    tree.property_u32("#size-cells", 2)?;
    for entry in plan.map.iter().filter(|entry| entry.backed) {
        if entry.usage == Use::Ram {
            let node = tree.begin_node(&format!("memory@{:x}", entry.span.first().get()))?;
            tree.property_string("device_type", "memory")?;
            register(&mut tree, entry.span)?;
            tree.end_node(node)?;
        }
    }
    let reserved = tree.begin_node("reserved-memory")?;
    tree.property_u32("#address-cells", 2)?;
    tree.property_u32("#size-cells", 2)?;
    tree.property_null("ranges")?;
    for (place, one) in all.kept.iter().enumerate() {
        let first = one.span().first().get();
        let name = if matches!(one, Kept::Window(..)) { "window" } else { "ringfence" };
        let node = tree.begin_node(&format!("{name}@{first:x}"))?;
        register(&mut tree, one.span())?;
        match one {
            Kept::Off(_) => tree.property_null("no-map")?,
            Kept::Told(region) => {
                tree.property_null("no-map")?;
                let each = region.devices.iter();
                let each = each.map(|at| pci::told(all.function_handle(*at), region.span));
                tree.property_array_u32("iommu-addresses", &each.flatten().collect::<Vec<_>>())?;
                tree.property_phandle(Tree::handle(place))?;
            }
            Kept::Window(..) => {
                // Mapped, because the guest copies to and fro there.
                tree.property_string("compatible", "restricted-dma-pool")?;
                tree.property_phandle(Tree::handle(place))?;
            }
        }
        tree.end_node(node)?;
    }
    tree.end_node(reserved)?;
    if !all.functions.is_empty() {
        let functions = all.functions.iter().map(|(at, places)| pci::Function {
            at: *at,
            handle: all.function_handle(*at),
            memory: places.iter().map(|place| Tree::handle(*place)).collect(),
        });
        pci::bus(&mut tree, plan, functions)?;
    }
    tree.end_node(root)?;
    tree.finish()
}

fn register(tree: &mut FdtWriter, span: Span<Gpa>) -> Result<(), vm_fdt::Error> {
    tree.property_array_u64("reg", &[span.first().get(), length(span)])
}

fn length(span: Span<Gpa>) -> u64 {
    span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get)
}
