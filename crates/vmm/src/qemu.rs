//! A machine, and the arguments that make QEMU be it.
//!
//! Guest memory is one memfd that can be shared (QEMU seals it, so that nobody can shrink it under
//! us), and every vhost-user device is a socket. The same two things are all that anybody with a
//! QEMU command of their own has to add: [`memory_options`] and [`device_options`].

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::accelerator::Accelerator;
use crate::device::{DeviceKind, Property};

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
        .find(|(_, shift)| bytes != 0 && bytes % (1 << shift) == 0)
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
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn device(name: &str, queues: Option<u16>, properties: &[(&str, Property)]) -> VhostUserDevice {
        VhostUserDevice {
            id: format!("my{name}"),
            kind: DeviceKind::named(name).expect("a kind"),
            socket: format!("/run/{name}.sock").into(),
            queues,
            properties: properties
                .iter()
                .map(|(name, setting)| ((*name).to_owned(), setting.clone()))
                .collect(),
        }
    }

    fn machine() -> Machine {
        Machine {
            name: "first, and only".to_owned(),
            memory_bytes: 512 << 20,
            cpus: 2,
            accelerator: Accelerator::Tcg,
            boot: Boot::Linux {
                kernel: "vmlinuz".into(),
                initrd: Some("initrd.gz".into()),
                command_line: "console=ttyS0 panic=-1".to_owned(),
            },
            console: Console::Output,
            qmp_socket: Some("/run/a,b/qmp".into()),
            devices: vec![device("blk", Some(1), &[("bootindex", Property::Number(1))])],
        }
    }

    /// One line per option, so that a change shows as the option it is about.
    fn check(arguments: &[OsString], expected: &Expect) {
        let mut lines = String::new();
        for argument in arguments {
            let argument = argument.to_string_lossy();
            let first_on_line = argument.starts_with('-') && !argument.starts_with("- ");
            lines.push_str(if !first_on_line {
                " "
            } else if lines.is_empty() {
                ""
            } else {
                "\n"
            });
            lines.push_str(&argument);
        }
        lines.push('\n');
        expected.assert_eq(&lines);
    }

    #[test]
    fn a_linux_machine_with_a_disk() {
        check(
            &machine().arguments(),
            &expect![[r#"
                -no-user-config
                -nodefaults
                -no-reboot
                -display none
                -name guest=first,, and only
                -machine q35
                -accel tcg
                -cpu max
                -smp 2
                -m size=512M
                -object memory-backend-memfd,id=ram,size=512M,share=on
                -machine memory-backend=ram
                -kernel vmlinuz
                -initrd initrd.gz
                -append console=ttyS0 panic=-1
                -chardev stdio,id=console,signal=off
                -serial chardev:console
                -qmp unix:/run/a,,b/qmp,server=on,wait=off
                -chardev socket,id=myblk,path=/run/blk.sock
                -device vhost-user-blk-pci,id=myblk-device,chardev=myblk,num-queues=1,bootindex=1
            "#]],
        );
    }

    #[test]
    fn firmware_on_the_terminal_under_kvm() {
        let machine = Machine {
            boot: Boot::Firmware("OVMF.fd".into()),
            console: Console::Terminal,
            accelerator: Accelerator::Kvm,
            qmp_socket: None,
            devices: Vec::new(),
            ..machine()
        };
        check(
            &machine.arguments(),
            &expect![[r#"
                -no-user-config
                -nodefaults
                -no-reboot
                -display none
                -name guest=first,, and only
                -machine q35
                -accel kvm
                -cpu max
                -smp 2
                -m size=512M
                -object memory-backend-memfd,id=ram,size=512M,share=on
                -machine memory-backend=ram
                -bios OVMF.fd
                -serial mon:stdio
            "#]],
        );
    }

    #[test]
    fn other_devices() {
        let tag = ("tag", Property::Text("a,b".to_owned()));
        let mut all = device_options(&device("fs", Some(2), &[tag]));
        all.extend(device_options(&device(
            "net",
            Some(4),
            &[("mrg_rxbuf", Property::Switch(false))],
        )));
        all.extend(device_options(&device("rng", None, &[])));
        check(
            &all,
            &expect![[r#"
            -chardev socket,id=myfs,path=/run/fs.sock
            -device vhost-user-fs-pci,id=myfs-device,chardev=myfs,num-request-queues=2,tag=a,,b
            -chardev socket,id=mynet,path=/run/net.sock
            -netdev vhost-user,id=mynet-peer,chardev=mynet,queues=4
            -device virtio-net-pci,id=mynet-device,netdev=mynet-peer,mq=on,mrg_rxbuf=off
            -chardev socket,id=myrng,path=/run/rng.sock
            -device vhost-user-rng-pci,id=myrng-device,chardev=myrng
        "#]],
        );
    }

    #[test]
    fn two_lines_for_a_command_of_ones_own() {
        expect![[r#"
            -object memory-backend-memfd,id=ram,size=1G,share=on -machine memory-backend=ram
            -chardev socket,id=myblk,path=/run/blk.sock -device vhost-user-blk-pci,id=myblk-device,chardev=myblk
        "#]].assert_eq(&snippet(1 << 30, &device("blk", None, &[])));
    }
}
