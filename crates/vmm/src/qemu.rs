//! A machine, and the arguments that make QEMU be it.
//!
//! Guest memory is one memfd that can be shared (QEMU seals it, so that nobody can shrink it under
//! us), and every vhost-user device is a socket. The same two things are all that anybody with a
//! QEMU command of their own has to add: [`memory_options`] and [`device_options`].

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::accelerator::Accelerator;
use crate::device::{DeviceKind, Property};

/// QEMU's own system call filter: it starts no program and gains no rights.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// What the machine starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// A Linux kernel loaded by QEMU itself.
    Linux {
        /// The kernel image.
        kernel: PathBuf,
        /// The initial file system, if any.
        initrd: Option<PathBuf>,
        /// The kernel's command line.
        command_line: String,
    },
    /// A firmware image, which looks for something to boot on the devices.
    Firmware(PathBuf),
    /// QEMU's own firmware (SeaBIOS).
    OwnFirmware,
}

/// Where the guest's serial console goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// To QEMU's standard output, nothing read.
    Output,
    /// QEMU owns the terminal: keys go to the guest (Ctrl-A X ends it).
    Terminal,
}

/// One vhost-user device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VhostUserDevice {
    /// Unique in the machine.
    pub id: String,
    /// What it is.
    pub kind: &'static DeviceKind,
    /// Where its backend, or the fence before it, listens.
    pub socket: PathBuf,
    /// How many request queues, if not QEMU's choice.
    pub queues: Option<u16>,
    /// More properties of QEMU's device, by name.
    pub properties: Vec<(String, Property)>,
}

/// A machine for QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name, as QEMU shows it.
    pub name: String,
    /// Guest memory.
    pub memory_bytes: u64,
    /// Virtual processors.
    pub cpus: u32,
    /// What runs them.
    pub accelerator: Accelerator,
    /// What it starts with.
    pub boot: Boot,
    /// Where its serial console goes.
    pub console: Console,
    /// Where QEMU listens for QMP, if anywhere.
    pub qmp_socket: Option<PathBuf>,
    /// Its devices.
    pub devices: Vec<VhostUserDevice>,
}

impl Machine {
    /// QEMU's arguments, without the program itself.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Arguments::default();
        arguments.flag("-no-user-config").flag("-nodefaults").flag("-no-reboot");
        arguments.option("-sandbox", SANDBOX);
        arguments.option("-display", "none");
        arguments.option("-name", [text("guest="), value(&self.name)].concat_os());
        arguments.option("-machine", "q35");
        arguments.option("-accel", self.accelerator.name());
        arguments.option("-cpu", "max");
        arguments.option("-smp", self.cpus.to_string());
        arguments.option("-m", format!("size={}", size(self.memory_bytes)));
        arguments.0.extend(memory_options(self.memory_bytes));
        self.boot_options(&mut arguments);
        match self.console {
            Console::Output => {
                arguments.option("-chardev", "stdio,id=console,signal=off");
                arguments.option("-serial", "chardev:console")
            }
            // QEMU's own short form: newer ones warn of the long one, older ones lack what is new.
            Console::Terminal => arguments.option("-serial", "mon:stdio"),
        };
        if let Some(socket) = &self.qmp_socket {
            let socket = [text("unix:"), value(socket), text(",server=on,wait=off")].concat_os();
            arguments.option("-qmp", socket);
        }
        for device in &self.devices {
            arguments.0.extend(device_options(device));
        }
        arguments.0
    }

    fn boot_options(&self, arguments: &mut Arguments) {
        match &self.boot {
            Boot::Linux { kernel, initrd, command_line } => {
                arguments.option("-kernel", kernel);
                if let Some(initrd) = initrd {
                    arguments.option("-initrd", initrd);
                }
                arguments.option("-append", command_line);
            }
            Boot::Firmware(image) => {
                arguments.option("-bios", image);
            }
            Boot::OwnFirmware => {}
        }
    }
}

/// The options that make guest memory something a vhost-user device can be given at all.
pub fn memory_options(memory_bytes: u64) -> Vec<OsString> {
    let mut arguments = Arguments::default();
    let size = size(memory_bytes);
    let object = format!("memory-backend-memfd,id=ram,size={size},share=on");
    arguments.option("-object", object).option("-machine", "memory-backend=ram");
    arguments.0
}

/// The options that add one vhost-user device.
pub fn device_options(device: &VhostUserDevice) -> Vec<OsString> {
    let mut arguments = Arguments::default();
    let VhostUserDevice { id, kind, socket, .. } = device;
    arguments.option("-chardev", socket_chardev(id, socket));
    let mut model = if kind.name == "net" {
        let queues = device.queues.unwrap_or(1);
        arguments
            .option("-netdev", format!("vhost-user,id={id}-peer,chardev={id},queues={queues}"));
        let multiple = if queues > 1 { ",mq=on" } else { "" };
        text(format!("{},id={id}-device,netdev={id}-peer{multiple}", kind.model))
    } else {
        let queues = match (kind.queues_property, device.queues) {
            (Some(property), Some(queues)) => format!(",{property}={queues}"),
            _ => String::new(),
        };
        text(format!("{},id={id}-device,chardev={id}{queues}", kind.model))
    };
    let is_chosen = device.properties.iter().any(|(name, _)| name == "disable-legacy");
    if kind.has_legacy_interface && !is_chosen {
        model.push(",disable-legacy=on");
    }
    for (name, setting) in &device.properties {
        model.push(format!(",{name}="));
        model.push(value(setting.to_string()));
    }
    arguments.option("-device", model);
    arguments.0
}

/// What to add to a QEMU command of one's own, one line for memory and one for the device.
pub fn snippet(memory_bytes: u64, device: &VhostUserDevice) -> String {
    let line = |options: Vec<OsString>| {
        let whole = crate::command_line::command_line("", options);
        whole.trim_start_matches("'' ").to_owned()
    };
    format!("{}\n{}\n", line(memory_options(memory_bytes)), line(device_options(device)))
}

/// A number of bytes in the largest of QEMU's units that holds it exactly.
fn size(bytes: u64) -> String {
    [('G', 30), ('M', 20), ('K', 10)]
        .into_iter()
        .find(|(_, shift)| bytes != 0 && bytes.is_multiple_of(1 << shift))
        .map_or_else(|| format!("{bytes}B"), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(text(name));
        self
    }

    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.0.push(text(name));
        self.0.push(text(value));
        self
    }
}

fn socket_chardev(id: &str, socket: &Path) -> OsString {
    [text(format!("socket,id={id},path=")), value(socket)].concat_os()
}

fn text(piece: impl AsRef<OsStr>) -> OsString {
    piece.as_ref().to_owned()
}

/// A value inside one of QEMU's comma-separated options, where a comma is written twice.
fn value(piece: impl AsRef<OsStr>) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = Vec::new();
    for &byte in piece.as_ref().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

trait ConcatOs {
    fn concat_os(self) -> OsString;
}

impl<const N: usize> ConcatOs for [OsString; N] {
    fn concat_os(self) -> OsString {
        self.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
