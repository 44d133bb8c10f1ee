//! User-Mode Linux: a real Linux as an ordinary process, up in about a second.
//!
//! Its virtio drivers speak vhost-user by themselves (`virtio_uml`), which makes it a second
//! frontend beside QEMU that shares no code with it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::console::Console;
use crate::error::LabError;
use crate::initramfs::Initramfs;
use crate::root::LabRoot;
use crate::running::{Plan, Running};
use crate::scratch::Scratch;

/// A User-Mode Linux to be.
#[derive(Debug, Clone)]
pub struct Uml {
    name: String,
    memory_mib: u32,
    command_line: String,
    initramfs: Initramfs,
    devices: Vec<(PathBuf, u32)>,
}

impl Uml {
    /// One with 256 MiB. `name` names it in reports.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            memory_mib: 256,
            command_line: String::new(),
            initramfs: Initramfs::new(),
            devices: Vec::new(),
        }
    }

    /// Its memory in MiB.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// More words on the kernel's command line.
    #[must_use]
    pub fn command_line(mut self, words: &str) -> Self {
        self.command_line.push(' ');
        self.command_line.push_str(words);
        self
    }

    /// A vhost-user device served at `socket`, by virtio's number for its type (a disk is 2).
    #[must_use]
    pub fn vhost_user(mut self, socket: &Path, device_type: u32) -> Self {
        self.devices.push((socket.to_owned(), device_type));
        self
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

    /// Runs lines of shell in the guest; it powers off after the last.
    #[must_use]
    pub fn script(self, lines: &str) -> Self {
        self.with(|initramfs| initramfs.script(lines))
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

    fn with(mut self, change: impl FnOnce(Initramfs) -> Initramfs) -> Self {
        self.initramfs = change(std::mem::take(&mut self.initramfs));
        self
    }

    fn plan(&self, lab: &LabRoot) -> Result<Plan> {
        let scratch = Scratch::new()?;
        let kernel = lab.user_mode_linux()?;
        let initrd = scratch.join("initrd.img");
        fs::write(&initrd, self.initramfs.build(lab, &kernel)?)
            .with_context(|| format!("cannot write {}", initrd.display()))?;
        let folder = format!("{}/", scratch.path().display());
        let mut arguments: Vec<OsString> = vec![
            format!("mem={}M", self.memory_mib).into(),
            format!("initrd={}", initrd.display()).into(),
            format!("uml_dir={folder}").into(),
            "con0=fd:0,fd:1".into(),
            "con=null".into(),
            "ssl=null".into(),
            "panic=-1".into(),
            "quiet".into(),
        ];
        for (socket, device_type) in &self.devices {
            let device = format!("virtio_uml.device={}:{device_type}", socket.display());
            arguments.push(device.into());
        }
        arguments.extend(self.command_line.split_whitespace().map(OsString::from));
        // Its memory is a file in TMPDIR, unlinked at once; on a disk it would be slow.
        let shared = Path::new("/dev/shm");
        let temporary =
            if shared.is_dir() { shared.as_os_str().to_owned() } else { folder.clone().into() };
        let environment = vec![("HOME".into(), folder.into()), ("TMPDIR".into(), temporary)];
        Ok(Plan {
            name: self.name.clone(),
            program: kernel.image,
            arguments,
            environment,
            starts_processes: true,
            scratch,
        })
    }
}
