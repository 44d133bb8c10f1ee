//! A host: a machine with an IOMMU and a PCI tree, in which our own programs run as on real ones.
//!
//! Many cases run in one boot. Each is a command; what it printed and how it ended come back as
//! data, byte for byte.

mod outcome;
mod topology;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub use outcome::{HostReport, Outcome};
pub use topology::{Part, Topology};

use crate::machine::Machine;
use crate::root::LabRoot;

/// Which IOMMU a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IommuKind {
    /// None at all.
    Absent,
    /// Intel VT-d.
    Intel,
    /// AMD-Vi.
    Amd,
    /// virtio-iommu, whose driver is a module.
    Virtio,
}

/// A host to be, and what is to run in it.
#[derive(Debug, Clone)]
pub struct HostMachine {
    machine: Machine,
    cases: Vec<String>,
}

/// Drivers of the devices that [`Part::Function`] is likely to name, loaded before the cases.
const DRIVERS: &[(&str, &str)] =
    &[("e1000e", "e1000e"), ("e1000", "e1000"), ("igb", "igb"), ("nvme", "nvme")];

impl HostMachine {
    /// A host with the kernel of a series, this IOMMU and this PCI tree.
    pub fn new(name: &str, series: &str, iommu: IommuKind, topology: &Topology) -> Self {
        // The kernel gives up on a timer that a busy test machine delivers late.
        let mut machine = Machine::new(name).kernel(series).command_line("no_timer_check");
        machine = match iommu {
            IommuKind::Absent => machine,
            // Interrupts are remapped so that VFIO has nothing to mind.
            IommuKind::Intel => machine
                .qemu(["-device", "intel-iommu,intremap=on,caching-mode=on"])
                .command_line("intel_iommu=on"),
            // By default QEMU's translates nothing: each disk's driver would wait a minute for data.
            IommuKind::Amd => machine.qemu(["-device", "amd-iommu,intremap=on,dma-remap=on"]),
            IommuKind::Virtio => {
                machine.qemu(["-device", "virtio-iommu-pci,addr=01.0"]).module("virtio_iommu")
            }
        };
        let arguments = topology.arguments();
        for (model, driver) in DRIVERS {
            let is = |argument: &String| {
                argument.strip_prefix(model).is_some_and(|rest| rest.starts_with(','))
            };
            if arguments.iter().any(is) {
                machine = machine.module(*driver);
            }
        }
        // The kernel's own messages would stand in the middle of what cases print.
        let machine = machine.qemu(arguments).script(outcome::PREPARATION);
        Self { machine, cases: Vec::new() }
    }

    /// Changes the machine beneath: memory, modules, files, the kernel's command line.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(Machine) -> Machine) -> Self {
        self.machine = change(self.machine);
        self
    }

    /// What VFIO needs, type 1 included.
    #[must_use]
    pub fn vfio(self) -> Self {
        self.with(|machine| machine.module("vfio_iommu_type1").module("vfio-pci"))
    }

    /// Puts a program of this machine into `/bin`, with the libraries it needs.
    #[must_use]
    pub fn program(self, program: &Path) -> Self {
        self.with(|machine| machine.binary(program))
    }

    /// Runs lines of shell before the next case; the machine fails if the last of them does.
    #[must_use]
    pub fn prepare(self, lines: &str) -> Self {
        self.with(|machine| machine.script(&format!("{lines}\n[ $? = 0 ] || exit 1")))
    }

    /// Waits for the virtual functions of a physical one of this vendor and device id, and turns
    /// on `count` of them.
    #[must_use]
    pub fn virtual_functions(self, vendor: u16, device: u16, count: u16) -> Self {
        self.prepare(&format!(
            "for there in /sys/bus/pci/devices/*; do
               if [ \"$(cat $there/vendor $there/device | tr '\\n' ' ')\" = \
                    '0x{vendor:04x} 0x{device:04x} ' ]; then
                 echo {count} > $there/sriov_numvfs || exit 1
               fi
             done"
        ))
    }

    /// Runs a command line of shell as the case `name` and captures what it prints.
    #[must_use]
    pub fn case(mut self, name: &str, command: &str) -> Self {
        self.cases.push(name.to_owned());
        let script = outcome::script(self.cases.len() - 1, command);
        self.with(|machine| machine.script(&script))
    }

    /// Boots the host, runs everything and returns what came of the cases.
    pub fn run(&self, lab: &LabRoot, patience: Duration) -> Result<HostReport> {
        for (index, name) in self.cases.iter().enumerate() {
            ensure!(!self.cases[..index].contains(name), "two cases are called `{name}`");
        }
        let console = self.machine.run(lab, patience)?;
        HostReport::read(&self.cases, console).context("what the cases printed")
    }
}
