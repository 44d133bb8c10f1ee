//! QEMU's arguments, for an unmodified QEMU.

use ringfence_addr::{Gpa, Span};
use ringfence_refusal::Refusal;

use crate::emit::size::size;
use crate::emit::{
    Consumer, Emitted, EmittedFile, Surroundings, acpi, cannot_express, command_line, e820, iommu,
    kept_off_memory, wrong_machine,
};
use crate::machine::Machine;
use crate::map::{Plan, Use};
use crate::viommu::Viommu;

/// The guest kernel's image with the node's address in its header.
const KERNEL_FILE: &str = "ringfence-kernel";
/// The guest's initial ramdisk behind the archive of its table.
const INITRD_FILE: &str = "ringfence-initrd";

/// In the header of a Linux image (`Documentation/arch/x86/boot.rst`): the magic number, the version
/// and the address of the first node of `setup_data`, which version 2.09 added.
const MAGIC_AT: usize = 0x202;
const MAGIC: &[u8] = b"HdrS";
const VERSION_AT: usize = 0x206;
const VERSION_LEAST: u16 = 0x209;
const SETUP_DATA_AT: usize = 0x250;

pub(super) fn machine_name(plan: &Plan, consumer: Consumer) -> Result<&'static str, Refusal> {
    match plan.machine {
        Machine::Q35 => Ok("q35"),
        Machine::I440fx => Ok("pc"),
        Machine::CloudHypervisor | Machine::Library => Err(wrong_machine(plan, consumer)),
    }
}

pub(super) fn emit(plan: &Plan, around: Surroundings<'_>) -> Result<Emitted, Refusal> {
    let mut machine = machine_name(plan, Consumer::Qemu)?.to_owned();
    let settings = &plan.settings;
    if let Some(low) = settings.low_bytes {
        machine.push_str(&format!(",max-ram-below-4g={}", size(low)));
    }
    let viommu = plan.viommu.as_ref().map(|told| told.kind);
    if matches!(viommu, Some(Viommu::Intel | Viommu::Amd)) {
        // Or KVM's own I/O APIC goes past the remapping of interrupts.
        machine.push_str(",kernel-irqchip=split");
    }
    let mut memory = format!("size={}", size(settings.memory_bytes));
    if settings.hotplug_bytes > 0 {
        let most = settings.memory_bytes.saturating_add(settings.hotplug_bytes);
        memory.push_str(&format!(",slots={},maxmem={}", settings.hotplug_slots, size(most)));
    }
    let mut emitted = Emitted::default();
    let mut lines = vec![format!("-machine {machine}"), format!("-m {memory}")];
    // Bounds what firmware gives to base addresses; without KVM there is nothing to bound.
    let bits = settings.address_bits;
    lines.push(format!("-global x86_64-cpu.host-phys-bits-limit={bits}"));
    if let Some(table) = acpi::table(plan) {
        let file = EmittedFile { name: acpi::FILE, bytes: table.write() };
        lines.push(format!("-acpitable file={}", path(around, file.name)?));
        emitted.files.push(file);
    }
    if !kept_off_memory(plan).is_empty() {
        lines.extend(keep_off(plan, around, &mut emitted)?);
    }
    lines.extend(tell_iommu(plan, around, &mut emitted)?);
    if let Some(stolen) = settings.stolen_bytes {
        let units = stolen >> 25;
        emitted.notes.push(format!(
            "Add x-igd-gms={units} to the graphics function's -device vfio-pci: it is shown to have \
             {} of its own.",
            size(stolen)
        ));
    }
    if settings.amd_vcpu {
        emitted.notes.push(
            "Give it a processor of AMD's (-cpu EPYC, or host on such a host), or memory lies in \
             HyperTransport's hole."
                .to_owned(),
        );
    }
    emitted.text = lines.join("\n") + "\n";
    Ok(emitted)
}

/// The guest's IOMMU, and the initial ramdisk in front of which its kernel finds the table that tells it
/// of regions: QEMU has none of its own that does.
fn tell_iommu(
    plan: &Plan,
    around: Surroundings<'_>,
    emitted: &mut Emitted,
) -> Result<Vec<String>, Refusal> {
    let mut lines = iommu::device_lines(plan);
    if lines.is_empty() {
        return Ok(lines);
    }
    emitted.notes.push("The guest's IOMMU stands before every -device behind it.".to_owned());
    if plan.viommu.as_ref().is_some_and(|told| told.kind == Viommu::Amd) {
        emitted.notes.push(
            "AMDVI-PCI and dma-remap are not in every QEMU that has an amd-iommu: 11.1 has both."
                .to_owned(),
        );
    }
    let Some((_, table)) = iommu::table(plan, Consumer::Qemu)? else { return Ok(lines) };
    let mut initrd = iommu::archive(&table);
    if let Some(behind) = around.initrd {
        initrd.bytes.extend(behind);
    }
    initrd.name = INITRD_FILE;
    lines.push(format!("-initrd {}", path(around, initrd.name)?.replace(",,", ",")));
    emitted.files.push(initrd);
    emitted.notes.push(
        "The guest's kernel must be one that replaces tables (CONFIG_ACPI_TABLE_UPGRADE) and be allowed to: \
         with Secure Boot Linux does not."
            .to_owned(),
    );
    for function in &plan.functions {
        emitted.notes.push(format!(
            "Put {} at {} in the guest: -device vfio-pci,host={},bus=...,addr={:02x}.{}",
            function.host,
            function.guest,
            function.host,
            function.guest.device(),
            function.guest.function()
        ));
    }
    Ok(lines)
}

fn path(around: Surroundings<'_>, name: &str) -> Result<String, Refusal> {
    let folder = around.folder.ok_or_else(|| {
        cannot_express(Consumer::Qemu, format!("a file is needed ({name}); say where, with --out"))
    })?;
    // QEMU ends a value at a comma unless it is doubled.
    Ok(format!("{folder}/{name}").replace(',', ",,"))
}

/// Memory that firmware does not know to be kept off: told to a kernel booted directly, by a node of
/// `setup_data` that its header points to.
fn keep_off(
    plan: &Plan,
    around: Surroundings<'_>,
    emitted: &mut Emitted,
) -> Result<Vec<String>, Refusal> {
    let refuse = |what: &str| cannot_express(Consumer::Qemu, what);
    let kernel = around.kernel.ok_or_else(|| {
        refuse(
            "memory would have to be kept off, which firmware cannot be told without a change to QEMU; \
             boot a kernel directly, or let the regions be holes",
        )
    })?;
    let node =
        place_of_node(plan).ok_or_else(|| refuse("there is no memory for the map's node"))?;
    let patched = point_to(kernel, node).ok_or_else(|| {
        refuse("the kernel is no Linux image of boot protocol 2.09 or later (a bzImage)")
    })?;
    let blob = EmittedFile { name: e820::FILE, bytes: e820::extension(plan).write() };
    let lines = vec![
        format!("-kernel {}", path(around, KERNEL_FILE)?.replace(",,", ",")),
        format!(
            "-device loader,file={},addr={:#x},force-raw=on",
            path(around, blob.name)?,
            node.get()
        ),
    ];
    // It unpacks itself before it reads the node: what is at random lies anywhere in the first map.
    let arguments = command_line::arguments(plan);
    let words = match arguments.len() {
        0..=command_line::MEMMAPS_MOST => arguments.join(" "),
        _ => "nokaslr".to_owned(),
    };
    emitted.notes.push(format!(
        "Add to the kernel's command line, or Linux may put its own image on what is kept off: {words}"
    ));
    emitted.files.push(EmittedFile { name: KERNEL_FILE, bytes: patched });
    emitted.files.push(blob);
    Ok(lines)
}

/// In the middle of low memory: firmware and the initial ramdisk use its end, the kernel its start.
fn place_of_node(plan: &Plan) -> Option<Gpa> {
    let low = plan.map.iter().filter(|entry| entry.usage == Use::Ram).map(|entry| entry.span);
    let largest = low
        .filter(|span: &Span<Gpa>| span.last().get() < 1 << 32)
        .max_by_key(|span| span.length())?;
    let middle = largest.first().get() + (largest.last().get() - largest.first().get()) / 2;
    Some(Gpa::new(middle & !0xf_ffff)).filter(|node| largest.contains(*node))
}

fn point_to(kernel: &[u8], node: Gpa) -> Option<Vec<u8>> {
    let version = kernel.get(VERSION_AT..VERSION_AT + 2)?;
    let version = u16::from_le_bytes(version.try_into().ok()?);
    if kernel.get(MAGIC_AT..MAGIC_AT + MAGIC.len()) != Some(MAGIC) || version < VERSION_LEAST {
        return None;
    }
    let mut patched = kernel.to_vec();
    patched.get_mut(SETUP_DATA_AT..SETUP_DATA_AT + 8)?.copy_from_slice(&node.get().to_le_bytes());
    Some(patched)
}
