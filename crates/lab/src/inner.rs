//! QEMU inside a machine: a guest in a host of the lab's. Everything in it is slow, as each instruction is
//! translated twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::libraries;
use crate::machine::Machine;
use crate::root::LabRoot;

const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const QEMU: &str = "usr/bin/qemu-system-x86_64";

/// What a machine of the kind `q35` that boots a kernel cannot do without.
const FIRMWARE: [&str; 3] = [
    "usr/share/seabios/bios-256k.bin",
    "usr/share/qemu/kvmvapic.bin",
    "usr/share/qemu/linuxboot_dma.bin",
];

/// Its console is its output.
const SCRIPT: &str = "\
#!/bin/sh
exec /inner/loader --library-path /inner/libraries /inner/qemu -L /inner/firmware \\
  -nodefaults -no-user-config -no-reboot -display none -serial stdio -accel tcg -cpu max \\
  -kernel /inner/kernel -initrd /inner/initrd -append 'COMMAND-LINE' \"$@\"
";

impl Machine {
    /// Puts the lab's QEMU into the guest, to boot what `guest` boots: its kernel, modules, files and
    /// script. The command `qemu-inside` starts it, with more arguments of QEMU's: memory and devices.
    pub fn qemu_inside(self, lab: &LabRoot, guest: &Self) -> Result<Self> {
        let (kernel, initrd, command_line) = guest.to_boot(lab)?;
        let qemu = lab.file(QEMU)?;
        let script = SCRIPT.replace("COMMAND-LINE", &command_line);
        let mut machine = self
            .file("/bin/qemu-inside", script)
            .file("/inner/loader", read(&lab.file(LOADER)?)?)
            .file("/inner/qemu", read(&qemu)?)
            .file("/inner/kernel", read(&kernel)?)
            .file("/inner/initrd", initrd);
        for path in FIRMWARE {
            machine = machine.file(inside("firmware", Path::new(path))?, read(&lab.file(path)?)?);
        }
        for library in needed(lab, &qemu)? {
            machine = machine.file(inside("libraries", &library)?, read(&library)?);
        }
        Ok(machine)
    }
}

/// The libraries that a program of the lab's is linked to.
fn needed(lab: &LabRoot, program: &Path) -> Result<Vec<PathBuf>> {
    let folder = lab.folder().join("root").join(LIBRARIES);
    let mut path = folder.clone().into_os_string();
    path.push(":");
    path.push(folder.join("pulseaudio"));
    let mut loader = Command::new(lab.file(LOADER)?);
    loader.arg("--library-path").arg(path).arg("--list").arg(program);
    libraries::listed(&mut loader)
}

fn inside(folder: &str, path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} has no name", path.display()))?;
    Ok(format!("/inner/{folder}/{name}"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
