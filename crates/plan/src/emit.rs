//! A plan in the words of those who carry it out.
//!
//! Every consumer gets what it understands; what it cannot express is a refusal that names the
//! alternative, never silence.

mod acpi;
mod cloud_hypervisor;
mod command_line;
mod device_tree;
mod e820;
mod iommu;
mod libvirt;
mod qemu;
mod size;
mod xl;

use std::fmt;
use std::str::FromStr;

use ringfence_addr::{Gpa, Span};
use ringfence_refusal::Refusal;

use crate::map::{Entry, Plan, Use};
use crate::refusals;

/// Who is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consumer {
    /// QEMU's arguments.
    Qemu,
    /// A piece of a libvirt domain.
    Libvirt,
    /// Cloud Hypervisor's arguments.
    CloudHypervisor,
    /// Xen's `xl.cfg`.
    Xl,
    /// A memory map as firmware gives it (E820), for VMMs that write one.
    E820,
    /// ACPI tables: an SSDT that reserves, and what tells the guest's IOMMU of regions.
    Acpi,
    /// A device tree.
    DeviceTree,
    /// The guest kernel's command line.
    CommandLine,
}

/// What a consumer is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emitted {
    /// For people and scripts: arguments one a line, XML, or a listing.
    pub text: String,
    /// Files the text names.
    pub files: Vec<EmittedFile>,
    /// What to know before using it.
    pub notes: Vec<String>,
}

/// A file to be written beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmittedFile {
    /// Its name, without a folder.
    pub name: &'static str,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// What of the VM matters beside the plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// The folder that files will be written to, as the consumer shall name it; none, if it is not
    /// known.
    pub folder: Option<&'a str>,
    /// The guest kernel's image where the VMM boots it directly, without firmware in between that
    /// would have to be told.
    pub kernel: Option<&'a [u8]>,
    /// The initial ramdisk it starts with, if there is one.
    pub initrd: Option<&'a [u8]>,
}

impl Consumer {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Qemu,
        Self::Libvirt,
        Self::CloudHypervisor,
        Self::Xl,
        Self::E820,
        Self::Acpi,
        Self::DeviceTree,
        Self::CommandLine,
    ];

    /// Its name after `--for`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Libvirt => "libvirt",
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Xl => "xl",
            Self::E820 => "e820",
            Self::Acpi => "acpi",
            Self::DeviceTree => "dtb",
            Self::CommandLine => "cmdline",
        }
    }
}

impl fmt::Display for Consumer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Consumer {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|consumer| consumer.name() == text).ok_or(())
    }
}

/// Tells `consumer` the plan.
///
/// # Errors
///
/// RF0813 if the plan is for another machine than the consumer's, RF0814 if it cannot express
/// something of it.
pub fn emit(plan: &Plan, around: Surroundings<'_>, consumer: Consumer) -> Result<Emitted, Refusal> {
    match consumer {
        Consumer::Qemu => qemu::emit(plan, around),
        Consumer::Libvirt => libvirt::emit(plan, around),
        Consumer::CloudHypervisor => cloud_hypervisor::emit(plan),
        Consumer::Xl => xl::emit(plan),
        Consumer::E820 => Ok(with_iommu_note(plan, e820::emit(plan))),
        Consumer::Acpi => acpi::emit(plan),
        Consumer::DeviceTree => device_tree::emit(plan),
        Consumer::CommandLine => Ok(with_iommu_note(plan, command_line::emit(plan))),
    }
}

/// A map of memory has no word for the guest's IOMMU.
fn with_iommu_note(plan: &Plan, mut emitted: Emitted) -> Emitted {
    if let Some(told) = iommu::told(plan) {
        let note = "is not told so: that takes --for acpi or --for dtb";
        emitted.notes.push(format!("The guest's {} {note}.", told.kind));
    }
    emitted
}

/// Memory that the guest must keep off.
fn kept_off_memory(plan: &Plan) -> Vec<Span<Gpa>> {
    let kept =
        |entry: &&Entry| entry.backed && matches!(entry.usage, Use::Reserved | Use::Identity);
    plan.map.iter().filter(kept).map(|entry| entry.span).collect()
}

/// Holes of devices' regions: no memory, but the guest must put no base address there either.
fn holes(plan: &Plan) -> Vec<Span<Gpa>> {
    let within = |entry: &Entry| {
        plan.settings.keep_off.iter().find_map(|kept| kept.intersection(&entry.span))
    };
    plan.map.iter().filter(|entry| entry.usage == Use::Hole).filter_map(within).collect()
}

fn wrong_machine(plan: &Plan, consumer: Consumer) -> Refusal {
    Refusal::new(
        &refusals::WRONG_MACHINE,
        format!("the plan is for {}, which {consumer} does not run", plan.machine),
    )
}

fn cannot_express(consumer: Consumer, what: impl fmt::Display) -> Refusal {
    Refusal::new(&refusals::CANNOT_BE_TOLD, format!("{consumer}: {what}"))
}
