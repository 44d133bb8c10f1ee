//! SeaBIOS and OVMF boot a guest from a disk served by another process.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{Backend, Machine, Scratch, root};

const NEEDS: &[Need] = &[Need::Lab, Need::Program("grub-mkimage")];

const DEVICE: &str = "vhost-user-blk-pci,bootindex=0";

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("seabios boots from a disk served by another process", NEEDS, || {
            boots(&Machine::new("seabios").boots_by_seabios(), "pc", DEVICE)
        }),
        Case::new("ovmf boots from a disk served by another process", NEEDS, || {
            // Unfenced, OVMF would pick the legacy interface, which backends do not speak.
            let device = format!("{DEVICE},disable-legacy=on");
            boots(&Machine::new("ovmf").boots_by_ovmf(), "efi", &device)
        }),
    ])
}

fn boots(machine: &Machine, firmware: &str, device: &str) -> Result<()> {
    let lab = root()?;
    let machine = machine.clone().module("virtio_blk").script(
        "echo \"@@ uefi=$([ -d /sys/firmware/efi ] && echo yes || echo no)\"
         echo \"@@ signature=$(dd if=/dev/vda bs=1 skip=510 count=2 2>/dev/null | hexdump -e '2/1 \"%02x\"')\"",
    );
    let scratch = Scratch::new()?;
    let image = scratch.join("boot.img");
    machine.write_boot_disk(&lab, &image)?;
    let backend = Backend::raw_disk(&lab, &image)?;
    let console =
        machine.vhost_user(device, backend.socket()).run(&lab, Duration::from_secs(120))?;
    ensure!(console.value("lab-firmware") == Some(firmware), "{console}");
    let uefi = if firmware == "efi" { "yes" } else { "no" };
    ensure!(console.value("uefi") == Some(uefi), "{console}");
    ensure!(console.value("signature") == Some("55aa"), "{console}");
    Ok(())
}
