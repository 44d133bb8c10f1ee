//! What a virtio-iommu answers when it is asked about an endpoint: there is no table for it.
//!
//! Virtual I/O Device 1.2, section 5.13.6.9: a property RESV_MEM names addresses that are not to be
//! used, or are for interrupts. None is mapped one to one.

use ringfence_refusal::Refusal;

use crate::emit::{Consumer, Emitted, cannot_express};
use crate::viommu::GuestIommu;

pub(super) fn emit(told: &GuestIommu, emitted: &mut Emitted) -> Result<(), Refusal> {
    if let Some(used) = told.regions.iter().find(|region| region.used) {
        let what = format!(
            "{} is to be mapped one to one, and a virtio-iommu says of addresses no more than that they are \
             reserved; ask for `reserve`, use a device tree (`--for dtb`), or take `intel-iommu`, \
             `amd-iommu` or `smmuv3`",
            used.span
        );
        return Err(cannot_express(Consumer::Acpi, what));
    }
    for region in &told.regions {
        for device in &region.devices {
            let (endpoint, span) = (device.requester_id(), region.span);
            let line =
                format!("virtio-iommu: endpoint {endpoint:#06x} ({device}): reserved {span}\n");
            emitted.text.push_str(&line);
        }
    }
    emitted.notes.push(
        "Its VIOT has no regions: the VMM answers a probe of each endpoint (numbered by requester id) with \
         its own, as RESV_MEM of subtype 0. What the device itself does there faults in the guest's IOMMU."
            .to_owned(),
    );
    let all = told.regions.iter().map(|region| {
        let (first, last) = (region.span.first().get(), region.span.last().get());
        format!("\"{first:#x}:{last:#x}:0\"")
    });
    emitted.notes.push(format!(
        "QEMU's virt machine reserves for all endpoints at once: -device \
         '{{\"driver\":\"virtio-iommu-pci\",\"reserved-regions\":[{}]}}'.",
        all.collect::<Vec<_>>().join(",")
    ));
    Ok(())
}
