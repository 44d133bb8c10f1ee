//! A disk that firmware boots from, made as an ordinary user: no loop device, no mount, no root.
//!
//! One image serves SeaBIOS and OVMF (UEFI) alike:
//!
//! | sectors | what | who reads it |
//! | --- | --- | --- |
//! | 0 | GRUB's `boot.img`, and the partition table | SeaBIOS runs it, OVMF reads the table |
//! | 1..2048 | GRUB's core image for PCs | `boot.img`, which by default goes on at sector 1 |
//! | 2048.. | a FAT file system in a partition of type 0xEF (EFI system) | |
//!
//! `grub-mkimage` makes both of GRUB's images with their configuration inside, so that nothing has
//! to be installed on the disk: `boot.img` and the first sector of the core image are built to be
//! put on a disk one after the other. OVMF looks for `EFI/BOOT/BOOTX64.EFI` on any FAT file system
//! it can reach through its own virtio driver. The file system is made by `mkfs.fat` in a file of
//! its own and filled by mtools. Either way GRUB then reads the kernel and the initramfs *through
//! the firmware's disk driver*, which is what a test of other guest software than Linux needs.
//!
//! GRUB says on the console how it was started, as the record `lab-firmware`: `pc` or `efi`.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::root::LabRoot;
use crate::scratch::Scratch;

const SECTOR: u64 = 512;

/// Where the file system begins: customary, and room for GRUB before it.
const PARTITION: u64 = 2048;

/// Writes a bootable image to `path`: `kernel` with `initrd` and the kernel's `command_line`.
pub(crate) fn write(
    lab: &LabRoot,
    path: &Path,
    kernel: &Path,
    initrd: &[u8],
    command_line: &str,
) -> Result<()> {
    let scratch = Scratch::new()?;
    let initrd_file = scratch.join("initrd.img");
    fs::write(&initrd_file, initrd)?;
    let core = scratch.join("core.img");
    let efi = scratch.join("BOOTX64.EFI");
    grub(lab, &scratch, "i386-pc", command_line, &core)?;
    grub(lab, &scratch, "x86_64-efi", command_line, &efi)?;

    // A quarter and 8 MiB more than what goes in: tables, clusters filled in part, room to write.
    let content = [kernel, &initrd_file, &efi]
        .iter()
        .try_fold(0, |sum, file| file.metadata().map(|metadata| sum + metadata.len()))?;
    let kibibytes = (content + content / 4 + (8 << 20)).div_ceil(1024);
    let file_system = scratch.join("fat.img");
    let size = kibibytes.to_string();
    tool(lab, "mkfs.fat", |mkfs| {
        mkfs.args(["-n", "RINGFENCE", "-C"]).arg(&file_system).arg(&size);
    })?;
    for folder in ["::/EFI", "::/EFI/BOOT"] {
        tool(lab, "mmd", |mmd| {
            mmd.arg("-i").arg(&file_system).arg(folder);
        })?;
    }
    for (file, name) in [
        (kernel, "::/vmlinuz"),
        (initrd_file.as_path(), "::/initrd.img"),
        (efi.as_path(), "::/EFI/BOOT/BOOTX64.EFI"),
    ] {
        tool(lab, "mcopy", |mcopy| {
            mcopy.arg("-i").arg(&file_system).arg(file).arg(name);
        })?;
    }
    let boot = fs::read(lab.file("usr/lib/grub/i386-pc/boot.img")?)?;
    assemble(path, boot, &fs::read(&core)?, &file_system)
}

/// One of GRUB's images, with all it needs and its configuration inside.
fn grub(
    lab: &LabRoot,
    scratch: &Scratch,
    format: &str,
    command_line: &str,
    output: &Path,
) -> Result<()> {
    let is_pc = format == "i386-pc";
    let mut modules = vec!["part_msdos", "fat", "linux", "search_fs_file", "echo", "boot"];
    // Under UEFI the firmware's console is the serial port already.
    let terminal = if is_pc {
        modules.extend(["biosdisk", "serial", "terminal"]);
        "serial --unit=0 --speed=115200\nterminal_output serial\n"
    } else {
        ""
    };
    let platform = if is_pc { "pc" } else { "efi" };
    let configuration = scratch.join(&format!("{format}.cfg"));
    fs::write(
        &configuration,
        format!(
            "{terminal}echo \"@@ lab-firmware={platform}\"\n\
             search.file /vmlinuz root\n\
             linux /vmlinuz {command_line}\n\
             initrd /initrd.img\n\
             boot\n"
        ),
    )?;
    let folder = lab.file(&format!("usr/lib/grub/{format}"))?;
    tool(lab, "grub-mkimage", |mkimage| {
        mkimage.args(["--format", format, "--prefix", "/", "--directory"]).arg(&folder);
        mkimage.arg("--config").arg(&configuration).arg("--output").arg(output).args(&modules);
    })
}

fn assemble(path: &Path, mut boot: Vec<u8>, core: &[u8], file_system: &Path) -> Result<()> {
    let room = usize::try_from((PARTITION - 1) * SECTOR)?;
    if core.len() > room {
        bail!("GRUB's core image has {} bytes; {room} fit before the partition", core.len());
    }
    boot.resize(usize::try_from(SECTOR)?, 0);
    let length = file_system.metadata()?.len();
    let sectors = u32::try_from(length / SECTOR).context("a disk to boot from is below 2 TiB")?;
    // `boot.img` has code for floppy disks where the partition table goes on a hard disk.
    boot[446..510].fill(0);
    boot[446..462].copy_from_slice(&partition(u32::try_from(PARTITION)?, sectors));
    boot[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut image =
        File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    image.write_all(&boot)?;
    image.write_all(core)?;
    image.seek(SeekFrom::Start(PARTITION * SECTOR))?;
    std::io::copy(&mut File::open(file_system)?, &mut image)?;
    Ok(())
}

/// An entry of the partition table: active, EFI system, too far out for cylinders and heads.
fn partition(first: u32, sectors: u32) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[..8].copy_from_slice(&[0x80, 0xfe, 0xff, 0xff, 0xef, 0xfe, 0xff, 0xff]);
    entry[8..12].copy_from_slice(&first.to_le_bytes());
    entry[12..].copy_from_slice(&sectors.to_le_bytes());
    entry
}

fn tool(lab: &LabRoot, name: &str, describe: impl FnOnce(&mut Command)) -> Result<()> {
    let mut command = Command::new(lab.program(name)?);
    // mtools would refuse images whose size is no multiple of a floppy's tracks.
    command.env("MTOOLS_SKIP_CHECK", "1").env("LC_ALL", "C.UTF-8");
    describe(&mut command);
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let talk = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}): {}", output.status, talk.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_is_where_the_file_system_is() {
        let entry = partition(2048, 0x1_0000);
        assert_eq!(entry[4], 0xef);
        assert_eq!(&entry[8..], &[0, 8, 0, 0, 0, 0, 1, 0]);
    }
}
