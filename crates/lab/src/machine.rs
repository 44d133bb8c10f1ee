//! A machine in QEMU, as a test describes it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::boot_disk;
use crate::console::Console;
use crate::error::LabError;
use crate::initramfs::Initramfs;
use crate::root::LabRoot;
use crate::running::{Plan, Running};
use crate::scratch::Scratch;
use crate::systemd;

/// What a machine starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boot {
    /// A kernel and an initramfs handed over by QEMU.
    Kernel,
    /// SeaBIOS, which finds a disk.
    SeaBios,
    /// OVMF (UEFI), which finds a disk.
    Ovmf,
}

/// A machine to be: everything has a default, and every call says one thing more about it.
#[derive(Debug, Clone)]
pub struct Machine {
    name: String,
    series: String,
    memory_mib: u32,
    memory_arguments: Option<Vec<OsString>>,
    cpus: u32,
    command_line: String,
    initramfs: Initramfs,
    arguments: Vec<OsString>,
    sockets: usize,
    boot: Boot,
}

impl Machine {
    /// A machine with Linux 6.12, one processor and 512 MiB that guest-memory sharing devices can
    /// share. `name` names it in reports.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            series: "6.12".to_owned(),
            memory_mib: 512,
            memory_arguments: None,
            cpus: 1,
            command_line: String::new(),
            initramfs: Initramfs::new(),
            arguments: Vec::new(),
            sockets: 0,
            boot: Boot::Kernel,
        }
    }

    /// Another kernel of the lab, by its series.
    #[must_use]
    pub fn kernel(mut self, series: impl Into<String>) -> Self {
        self.series = series.into();
        self
    }

    /// Its memory in MiB.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Its memory and its machine type by these arguments of QEMU's, and nothing else: no device
    /// outside QEMU can share it. They may name another kernel.
    #[must_use]
    pub fn memory_by<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.memory_arguments = Some(arguments.into_iter().map(Into::into).collect());
        self
    }

    /// Its processors.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// More words on the kernel's command line.
    #[must_use]
    pub fn command_line(mut self, words: &str) -> Self {
        self.command_line.push(' ');
        self.command_line.push_str(words);
        self
    }

    /// More arguments for QEMU.
    #[must_use]
    pub fn qemu<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A vhost-user device such as `vhost-user-blk-pci,num-queues=1`, served at `socket`.
    #[must_use]
    pub fn vhost_user(mut self, device: &str, socket: &Path) -> Self {
        let id = format!("vhost{}", self.sockets);
        self.sockets += 1;
        let mut chardev = OsString::from(format!("socket,id={id},path="));
        chardev.push(socket);
        let device = format!("{device},chardev={id}");
        self.qemu([OsString::from("-chardev"), chardev, "-device".into(), device.into()])
    }

    /// Loads a kernel module in the guest, and before it what it depends on.
    #[must_use]
    pub fn module(self, name: impl Into<String>) -> Self {
        self.with(|initramfs| initramfs.module(name))
    }

    /// Puts a program of this machine into the guest's `/bin`, with the libraries it needs.
    #[must_use]
    pub fn binary(self, program: &Path) -> Self {
        self.with(|initramfs| initramfs.binary(program))
    }

    /// Puts a file into the guest.
    #[must_use]
    pub fn file(self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.with(|initramfs| initramfs.file(path, content))
    }

    /// Has the kernel replace the firmware's ACPI table of the same signature by this one, whose OEM
    /// revision must be higher (`Documentation/admin-guide/acpi/initrd_table_override.rst`).
    #[must_use]
    pub fn acpi_table(self, table: &[u8]) -> Self {
        let signature = table.get(..4).unwrap_or_default().to_ascii_lowercase();
        let name = String::from_utf8_lossy(&signature).into_owned();
        self.file(format!("/kernel/firmware/acpi/{name}.aml"), table)
    }

    /// Runs lines of shell in the guest; it powers off after the last.
    #[must_use]
    pub fn script(self, lines: &str) -> Self {
        self.with(|initramfs| initramfs.script(lines))
    }

    /// Its first process is systemd, and the script a service. What the script starts with
    /// `systemctl` are services as on a host; there is an ordinary user `operator`. `libraries` of
    /// the lab are there for programs built on this machine.
    pub fn systemd(mut self, lab: &LabRoot, libraries: &[&str]) -> Result<Self> {
        self.initramfs = systemd::add(std::mem::take(&mut self.initramfs), lab, libraries)?;
        Ok(self)
    }

    /// Its drivers are found by udev, in the initramfs and after it, as on a host: among `modules`, of
    /// which none is loaded before. There is a log (`journalctl`). What `/initramfs-look` says is run
    /// when udev has done its work in the initramfs. To be said before [`Machine::systemd`].
    pub fn udev(mut self, lab: &LabRoot, modules: &[&str]) -> Result<Self> {
        self.initramfs = systemd::add_udev(std::mem::take(&mut self.initramfs), lab)?;
        Ok(modules.iter().fold(self, |machine, module| {
            machine.with(|initramfs| initramfs.module_at_hand(*module))
        }))
    }

    /// Unpacks an archive over what it starts with.
    #[must_use]
    pub fn archive(self, archive: Vec<u8>) -> Self {
        self.with(|initramfs| initramfs.archive(archive))
    }

    /// Starts from a disk through SeaBIOS, not from a kernel handed over by QEMU.
    #[must_use]
    pub fn boots_by_seabios(mut self) -> Self {
        self.boot = Boot::SeaBios;
        self
    }

    /// Starts from a disk through OVMF, not from a kernel handed over by QEMU.
    ///
    /// OVMF prefers a virtio device's legacy interface where there is one, which vhost-user
    /// backends do not speak: such a device needs `disable-legacy=on`.
    #[must_use]
    pub fn boots_by_ovmf(mut self) -> Self {
        self.boot = Boot::Ovmf;
        self
    }

    /// Writes a raw disk image from which this machine starts by either firmware: its kernel,
    /// modules, files and script.
    pub fn write_boot_disk(&self, lab: &LabRoot, image: &Path) -> Result<()> {
        let kernel = lab.kernel(&self.series)?;
        let initrd = self.initramfs.build(lab, &kernel)?;
        boot_disk::write(lab, image, &kernel.image, &initrd, &self.whole_command_line())
            .with_context(|| format!("cannot make the bootable disk {}", image.display()))
    }

    /// Runs the machine until it powers off and returns what it said.
    pub fn run(&self, lab: &LabRoot, patience: Duration) -> Result<Console, LabError> {
        self.start(lab)?.finish(patience)
    }

    /// Starts the machine and leaves it running.
    pub fn start(&self, lab: &LabRoot) -> Result<Running, LabError> {
        let plan = self.plan(lab).map_err(|error| LabError::before_start(&self.name, &error))?;
        Running::start(plan)
    }

    /// Its kernel, its first file system and its kernel's command line.
    pub(crate) fn to_boot(&self, lab: &LabRoot) -> Result<(PathBuf, Vec<u8>, String)> {
        let kernel = lab.kernel(&self.series)?;
        let initrd = self.initramfs.build(lab, &kernel)?;
        Ok((kernel.image, initrd, self.whole_command_line()))
    }

    fn with(mut self, change: impl FnOnce(Initramfs) -> Initramfs) -> Self {
        self.initramfs = change(std::mem::take(&mut self.initramfs));
        self
    }

    fn plan(&self, lab: &LabRoot) -> Result<Plan> {
        let scratch = Scratch::new()?;
        let mut arguments: Vec<OsString> = [
            "-name",
            &self.name,
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            &self.cpus.to_string(),
            "-chardev",
            "stdio,id=console,signal=off",
            "-serial",
            "chardev:console",
        ]
        .map(OsString::from)
        .into();
        match self.boot {
            Boot::Kernel => {
                let kernel = lab.kernel(&self.series)?;
                let initrd = scratch.join("initrd.img");
                fs::write(&initrd, self.initramfs.build(lab, &kernel)?)
                    .with_context(|| format!("cannot write {}", initrd.display()))?;
                arguments.extend(["-kernel".into(), kernel.image.into()]);
                arguments.extend(["-initrd".into(), initrd.into()]);
                arguments.extend(["-append".into(), self.whole_command_line().into()]);
            }
            Boot::SeaBios => {}
            Boot::Ovmf => {
                let code = lab.file("usr/share/OVMF/OVMF_CODE_4M.fd")?;
                let variables = scratch.join("variables.fd");
                fs::copy(lab.file("usr/share/OVMF/OVMF_VARS_4M.fd")?, &variables)?;
                for (unit, file, read_only) in [(0, code, "on"), (1, variables, "off")] {
                    let mut drive = OsString::from(format!(
                        "if=pflash,format=raw,unit={unit},readonly={read_only},file="
                    ));
                    drive.push(file);
                    arguments.extend(["-drive".into(), drive]);
                }
            }
        }
        match &self.memory_arguments {
            Some(given) => arguments.extend(given.iter().cloned()),
            None => arguments.extend(self.shared_memory().map(OsString::from)),
        }
        arguments.extend(self.arguments.iter().cloned());
        Ok(Plan {
            name: self.name.clone(),
            program: lab.program("qemu-system-x86_64")?,
            arguments,
            environment: Vec::new(),
            starts_processes: false,
            scratch,
        })
    }

    fn shared_memory(&self) -> [String; 6] {
        let memory = self.memory_mib;
        [
            "-m".to_owned(),
            format!("{memory}M"),
            "-object".to_owned(),
            format!("memory-backend-memfd,id=ram,size={memory}M,share=on"),
            "-machine".to_owned(),
            "q35,memory-backend=ram".to_owned(),
        ]
    }

    fn whole_command_line(&self) -> String {
        // Only errors on the console; a panic ends the machine at once.
        format!("console=ttyS0 panic=-1 quiet{}", self.command_line)
    }
}
