//! The tables that tell the guest's own IOMMU which addresses of a device are not to be given away.
//!
//! Kernels disagree about what is not clean (`ringfence tables` says how), so nothing else is written:
//! whole units, no overlaps, nothing that is not kept off memory in the guest's map, and one scope for
//! each device.

mod amd;
mod arm;
mod intel;
mod virtio;

use ringfence_refusal::Refusal;
use ringfence_tables::{Header, Table, upgrade};

use crate::emit::{Consumer, Emitted, EmittedFile, cannot_express};
use crate::machine::Machine;
use crate::map::Plan;
use crate::viommu::{GuestIommu, Viommu};

/// The archive by which a Linux guest takes a table in place of QEMU's.
pub(super) const ARCHIVE: &str = "ringfence-acpi.cpio";

/// The table, under the name of its file; nothing, if nothing must be told.
pub(super) fn table(
    plan: &Plan,
    consumer: Consumer,
) -> Result<Option<(&'static str, Table)>, Refusal> {
    let Some(told) = told(plan) else { return Ok(None) };
    Ok(Some(match told.kind {
        Viommu::Intel => ("ringfence-dmar.aml", intel::table(plan, told)),
        Viommu::Amd => ("ringfence-ivrs.aml", amd::table(plan, told)),
        Viommu::SmmuV3 => ("ringfence-iort.aml", arm::table(told)),
        Viommu::Virtio => {
            let what = "no table of a virtio-iommu has reserved regions; let them be holes, or take \
                        `intel-iommu`, `amd-iommu` or `smmuv3`";
            return Err(cannot_express(consumer, what));
        }
    }))
}

/// What the guest's IOMMU must be told, if that is anything.
pub(super) fn told(plan: &Plan) -> Option<&GuestIommu> {
    plan.viommu.as_ref().filter(|told| !told.regions.is_empty())
}

/// Adds the table, and the archive where QEMU's own must be replaced.
pub(super) fn emit(plan: &Plan, emitted: &mut Emitted) -> Result<(), Refusal> {
    if let Some(told) = told(plan).filter(|told| told.kind == Viommu::Virtio) {
        return virtio::emit(told, emitted);
    }
    let Some((name, table)) = table(plan, Consumer::Acpi)? else { return Ok(()) };
    let told = told(plan).into_iter().flat_map(|told| &told.regions);
    for region in told {
        let devices: Vec<_> = region.devices.iter().map(ToString::to_string).collect();
        let devices = devices.join(", ");
        emitted.text.push_str(&format!("{name}: {} one to one for {devices}\n", region.span));
    }
    emitted.files.push(EmittedFile { name, bytes: table.write() });
    emitted.notes.push(
        "A kernel distrusts such a region unless its memory map reserves it: --for qemu and e820 do."
            .to_owned(),
    );
    if plan.machine == Machine::Q35 {
        emitted.files.push(archive(&table));
        emitted.notes.push(format!(
            "It is QEMU's own table with the regions behind. A Linux guest takes it from {ARCHIVE}, put in \
             front of its initial ramdisk; other guests do not."
        ));
    }
    emitted.notes.extend(notes(plan));
    Ok(())
}

/// The archive with a table.
pub(super) fn archive(table: &Table) -> EmittedFile {
    EmittedFile { name: ARCHIVE, bytes: upgrade(std::slice::from_ref(table)) }
}

/// What the VMM must do for the table to be true.
fn notes(plan: &Plan) -> Vec<String> {
    let Some(told) = told(plan) else { return Vec::new() };
    match (plan.machine, told.kind) {
        (Machine::Q35, _) => device_lines(plan)
            .into_iter()
            .map(|line| format!("The table is true of {line}."))
            .collect(),
        (_, Viommu::Intel) => vec![format!(
            "Its unit has its registers at {:#x}: put them there, or take the RMRRs over into the VMM's own \
             table.",
            intel::REGISTERS
        )],
        (_, Viommu::Amd) => vec![format!(
            "Its IOMMU is {} with its registers at {:#x}: put it there, or take the IVMD blocks over into the \
             VMM's own table.",
            amd::function(plan),
            amd::REGISTERS
        )],
        (_, Viommu::SmmuV3) => vec![
            format!(
                "Its SMMU has its registers at {:#x} and the interrupts {}, as QEMU's virt has: put them \
                 there, or take the RMR nodes over into the VMM's own table.",
                arm::REGISTERS,
                arm::INTERRUPTS_TEXT
            ),
            "Linux ignores RMR nodes of PCI functions unless _DSM function 5 of the host bridge returns 0 \
             (PCI Firmware 3.3, section 4.6.5): the VMM's DSDT must have it, and no second table can add \
             it to a bridge that has a _DSM."
                .to_owned(),
        ],
        (_, Viommu::Virtio) => Vec::new(),
    }
}

/// QEMU's arguments for the IOMMU, before those of every device behind it.
pub(super) fn device_lines(plan: &Plan) -> Vec<String> {
    match plan.viommu.as_ref().map(|told| told.kind) {
        Some(Viommu::Intel) => vec![format!(
            "-device intel-iommu,intremap=on,caching-mode=on,aw-bits={}",
            intel::width(plan)
        )],
        Some(Viommu::Amd) => {
            let at = amd::function(plan);
            vec![
                format!(
                    "-device AMDVI-PCI,id=ringfence-iommu,addr={:02x}.{}",
                    at.device(),
                    at.function()
                ),
                "-device amd-iommu,pci-id=ringfence-iommu,intremap=on,dma-remap=on".to_owned(),
            ]
        }
        Some(Viommu::Virtio) => vec!["-device virtio-iommu-pci".to_owned()],
        Some(Viommu::SmmuV3) | None => Vec::new(),
    }
}

/// The header: QEMU's own with a higher revision where its table is to be replaced.
fn header(plan: &Plan, signature: [u8; 4], revision: u8) -> Header {
    let ours = Header::new(signature, revision);
    if plan.machine != Machine::Q35 {
        return ours;
    }
    Header {
        oem_id: *b"BOCHS ",
        oem_table_id: *b"BXPC    ",
        oem_revision: 2,
        creator_id: *b"BXPC",
        ..ours
    }
}
