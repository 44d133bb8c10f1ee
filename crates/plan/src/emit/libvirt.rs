//! The pieces of a libvirt domain that carry a plan.

use ringfence_refusal::Refusal;

use crate::emit::qemu::machine_name;
use crate::emit::size::size;
use crate::emit::{
    Consumer, Emitted, EmittedFile, Surroundings, acpi, cannot_express, kept_off_memory,
};
use crate::map::Plan;
use crate::viommu::Viommu;

pub(super) fn emit(plan: &Plan, around: Surroundings<'_>) -> Result<Emitted, Refusal> {
    let machine = machine_name(plan, Consumer::Libvirt)?;
    if !kept_off_memory(plan).is_empty() {
        let what = "memory would have to be kept off, which a domain cannot say; let the regions be \
                    holes, or run QEMU with a kernel booted directly";
        return Err(cannot_express(Consumer::Libvirt, what));
    }
    let settings = &plan.settings;
    let mut emitted = Emitted::default();
    let kib = settings.memory_bytes >> 10;
    let mut xml = String::from("<domain type='kvm'");
    if settings.low_bytes.is_some() {
        xml.push_str(" xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'");
    }
    xml.push_str(">\n");
    if settings.hotplug_bytes > 0 {
        let most = kib.saturating_add(settings.hotplug_bytes >> 10);
        let slots = settings.hotplug_slots;
        xml.push_str(&format!("  <maxMemory slots='{slots}' unit='KiB'>{most}</maxMemory>\n"));
    }
    xml.push_str(&format!("  <memory unit='KiB'>{kib}</memory>\n"));
    xml.push_str(&format!("  <os>\n    <type arch='x86_64' machine='{machine}'>hvm</type>\n"));
    if let Some(table) = acpi::table(plan) {
        let folder = around.folder.ok_or_else(|| {
            let what = format!("a file is needed ({}); say where, with --out", acpi::FILE);
            cannot_express(Consumer::Libvirt, what)
        })?;
        let path = escaped(&format!("{folder}/{}", acpi::FILE));
        xml.push_str(&format!("    <acpi>\n      <table type='raw'>{path}</table>\n    </acpi>\n"));
        emitted.files.push(EmittedFile { name: acpi::FILE, bytes: table.write() });
        emitted.notes.push("A raw table needs libvirt 11.2 or later.".to_owned());
    }
    xml.push_str("  </os>\n");
    let viommu = viommu(plan)?;
    if viommu.is_some_and(|(_, remaps)| remaps) {
        xml.push_str("  <features>\n    <ioapic driver='qemu'/>\n  </features>\n");
    }
    let bits = settings.address_bits;
    xml.push_str(&format!(
        "  <cpu mode='host-passthrough'>\n    <maxphysaddr mode='passthrough' limit='{bits}'/>\n  </cpu>\n"
    ));
    if let Some((element, _)) = viommu {
        xml.push_str(&format!("  <devices>\n    {element}\n  </devices>\n"));
    }
    if let Some(low) = settings.low_bytes {
        xml.push_str(&format!(
            "  <qemu:commandline>\n    <qemu:arg value='-machine'/>\n    \
             <qemu:arg value='max-ram-below-4g={}'/>\n  </qemu:commandline>\n",
            size(low)
        ));
    }
    xml.push_str("</domain>\n");
    emitted.text = xml;
    Ok(emitted)
}

/// The element of the guest's IOMMU, and whether it remaps interrupts.
fn viommu(plan: &Plan) -> Result<Option<(&'static str, bool)>, Refusal> {
    let Some(told) = &plan.viommu else { return Ok(None) };
    match told.kind {
        Viommu::Intel => {
            let driver = "<iommu model='intel'><driver intremap='on' caching_mode='on'/></iommu>";
            Ok(Some((driver, true)))
        }
        Viommu::Virtio => Ok(Some(("<iommu model='virtio'/>", false))),
        Viommu::Amd | Viommu::SmmuV3 => {
            let what = "no element of a domain has QEMU's amd-iommu translate for devices (dma-remap); take \
                        `intel-iommu`, or QEMU itself";
            Err(cannot_express(Consumer::Libvirt, what))
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
