//! A device tree: `/memory` and `/reserved-memory`.
//!
//! Devicetree Specification 0.4, sections 3.4 and 3.5. What is kept off is `no-map`, so that nobody
//! maps it, speculation included.

use ringfence_addr::{Gpa, Span};
use ringfence_refusal::Refusal;
use vm_fdt::FdtWriter;

use crate::emit::{Consumer, Emitted, EmittedFile, cannot_express, holes, kept_off_memory};
use crate::map::{Plan, Use};

const FILE: &str = "ringfence.dtb";

pub(super) fn emit(plan: &Plan) -> Result<Emitted, Refusal> {
    let bytes = blob(plan).map_err(|error| {
        cannot_express(Consumer::DeviceTree, format!("the tree cannot be written: {error}"))
    })?;
    let notes = vec![
        "Debian's kernels are built without CONFIG_DMA_RESTRICTED_POOL: a restricted-dma-pool is kept off \
         there, and not used."
            .to_owned(),
    ];
    let text = format!("{FILE}: /memory and /reserved-memory\n");
    Ok(Emitted { text, files: vec![EmittedFile { name: FILE, bytes }], notes })
}

fn blob(plan: &Plan) -> Result<Vec<u8>, vm_fdt::Error> {
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
    for span in kept_off_memory(plan).into_iter().chain(holes(plan)) {
        let node = tree.begin_node(&format!("ringfence@{:x}", span.first().get()))?;
        register(&mut tree, span)?;
        tree.property_null("no-map")?;
        tree.end_node(node)?;
    }
    tree.end_node(reserved)?;
    tree.end_node(root)?;
    tree.finish()
}

fn register(tree: &mut FdtWriter, span: Span<Gpa>) -> Result<(), vm_fdt::Error> {
    let length = span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get);
    tree.property_array_u64("reg", &[span.first().get(), length])
}
