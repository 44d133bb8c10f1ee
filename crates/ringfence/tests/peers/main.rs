//! Unmodified peers on both sides of the fence, with data verified.
//!
//! Frontends: QEMU with Linux 6.12, User-Mode Linux. Backends: qemu-storage-daemon,
//! vhost-device-rng, and a spy.

mod disks;
mod fenced;
mod firmware;
mod kill_points;
mod kills;
mod released;
mod spy;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{Backend, Machine, Uml, root};

use crate::disks::{Devices, RANDOM_SCRIPT, SCRIPT};
use crate::fenced::Fenced;
use crate::firmware::{Firmware, boots};

const PATIENCE: Duration = Duration::from_secs(120);

const PEERS: &[Need] = &[
    Need::Lab,
    Need::Program("qemu-system-x86_64"),
    Need::Program("qemu-storage-daemon"),
    Need::Program("vhost-device-rng"),
];

const BOOT: &[Need] =
    &[Need::Lab, Need::Program("qemu-storage-daemon"), Need::Program("grub-mkimage")];

const BOTH: &[Need] =
    &[Need::Lab, Need::Program("qemu-system-x86_64"), Need::Program("qemu-storage-daemon")];

const SPY: &[Need] = &[Need::Lab, Need::Program("qemu-system-x86_64")];

/// Virtio's number for disks.
const BLOCK: u32 = 2;

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("qemu with linux 6.12: disks and random numbers, fenced", PEERS, qemu),
        Case::new("user-mode linux: disks, fenced", PEERS, user_mode_linux),
        Case::new(
            "the released program has no switch for its guards",
            &[],
            released::has_no_switch,
        ),
        Case::new("seabios boots a guest from a fenced disk", BOOT, || boots(Firmware::SeaBios)),
        Case::new("ovmf boots a guest from a fenced disk", BOOT, || boots(Firmware::Ovmf)),
        Case::new(
            "a backend killed every second costs the guest pauses only",
            PEERS,
            kills::every_second,
        ),
        Case::new(
            "whoever is killed and whenever, nothing is left behind",
            BOTH,
            kill_points::nothing_is_left,
        ),
        Case::new("a spy connected directly reads the guest's secret", SPY, spy::direct),
        Case::new("a spy behind the fence finds nothing", SPY, spy::fenced),
    ])
}

fn qemu() -> Result<()> {
    let lab = root()?;
    let devices = Devices::new(&lab)?;
    let random = Fenced::new(Backend::vhost_device_rng(&lab)?, "1M")?;
    let console = Machine::new("fenced-qemu")
        .cpus(2)
        .vhost_user("vhost-user-blk-pci,num-queues=1", &devices.raw.fence.socket())
        .vhost_user("vhost-user-blk-pci,num-queues=1", &devices.qcow2.fence.socket())
        .vhost_user("vhost-user-blk-pci,num-queues=1", &devices.read_only.fence.socket())
        .vhost_user("vhost-user-blk-pci,num-queues=2", &devices.two_queues.fence.socket())
        .vhost_user("vhost-user-rng-pci", &random.fence.socket())
        .module("virtio_blk")
        .module("virtio-rng")
        .binary(&Devices::guest_program()?)
        .script(&format!("{SCRIPT}{RANDOM_SCRIPT}"))
        .run(&lab, PATIENCE)?;
    ensure!(console.value("random") == Some("1024"), "too few random bytes\n{console}");
    let kinds: u32 = console.value("kinds").unwrap_or_default().parse()?;
    ensure!(kinds > 128, "1024 random bytes of {kinds} values only\n{console}");
    random.fence.expect_clean("random numbers")?;
    random.stop()?;
    devices.check(&lab, &console)
}

/// Debian's User-Mode Linux has no driver for random numbers, so there are disks only.
fn user_mode_linux() -> Result<()> {
    let lab = root()?;
    let devices = Devices::new(&lab)?;
    let console = Uml::new("fenced-uml")
        .vhost_user(&devices.raw.fence.socket(), BLOCK)
        .vhost_user(&devices.qcow2.fence.socket(), BLOCK)
        .vhost_user(&devices.read_only.fence.socket(), BLOCK)
        .vhost_user(&devices.two_queues.fence.socket(), BLOCK)
        .module("virtio_blk")
        .binary(&Devices::guest_program()?)
        .script(SCRIPT)
        .run(&lab, PATIENCE)?;
    devices.check(&lab, &console)
}
