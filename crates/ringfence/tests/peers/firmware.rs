//! Other guest software than Linux: SeaBIOS and OVMF, each with its own virtio driver, and GRUB
//! through them, boot a guest from a fenced disk.

use anyhow::{Result, ensure};
use ringfence_lab::{Backend, Machine, Scratch, root};

use crate::PATIENCE;
use crate::fenced::Fenced;

/// `seabios` or `ovmf`, by what GRUB says it was started by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Firmware {
    SeaBios,
    Ovmf,
}

pub(crate) fn boots(firmware: Firmware) -> Result<()> {
    let lab = root()?;
    let machine = match firmware {
        Firmware::SeaBios => Machine::new("fenced-seabios").boots_by_seabios(),
        Firmware::Ovmf => Machine::new("fenced-ovmf").boots_by_ovmf(),
    };
    let machine = machine.module("virtio_blk").script(
        "echo \"@@ uefi=$([ -d /sys/firmware/efi ] && echo yes || echo no)\"
         echo \"@@ sum=$(dd if=/dev/vda bs=64k count=64 2>/dev/null | sha256sum | cut -d' ' -f1)\"",
    );
    let scratch = Scratch::new()?;
    let image = scratch.join("boot.img");
    machine.write_boot_disk(&lab, &image)?;
    let expected = {
        let head = scratch.join("head");
        std::fs::write(&head, &std::fs::read(&image)?[..4 << 20])?;
        crate::fenced::sha256(&head)?
    };
    let fenced = Fenced::new(Backend::raw_disk(&lab, &image)?, "16M")?;
    let console = machine
        .vhost_user("vhost-user-blk-pci,bootindex=0,disable-legacy=on", &fenced.fence.socket())
        .run(&lab, PATIENCE)?;
    let (started_by, uefi) = match firmware {
        Firmware::SeaBios => ("pc", "no"),
        Firmware::Ovmf => ("efi", "yes"),
    };
    ensure!(console.value("lab-firmware") == Some(started_by), "{console}");
    ensure!(console.value("uefi") == Some(uefi), "{console}");
    ensure!(console.value("sum") == Some(expected.as_str()), "{console}");
    fenced.fence.expect_clean("boot disk")?;
    fenced.stop()
}
