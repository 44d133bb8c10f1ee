//! Unmodified peers on both sides of the fence, with data verified.
//!
//! Frontends: QEMU with Linux 6.12, User-Mode Linux. Backends: qemu-storage-daemon,
//! vhost-device-rng, and a spy.

mod disks;
mod fenced;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{Machine, Uml, root};

use crate::disks::{Devices, SCRIPT};

const PATIENCE: Duration = Duration::from_secs(120);

const PEERS: &[Need] = &[
    Need::Lab,
    Need::Program("qemu-system-x86_64"),
    Need::Program("qemu-storage-daemon"),
    Need::Program("vhost-device-rng"),
];

/// Virtio's numbers for device types.
const BLOCK: u32 = 2;
const ENTROPY: u32 = 4;

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("qemu with linux 6.12: disks and random numbers, fenced", PEERS, qemu),
        Case::new("user-mode linux: disks and random numbers, fenced", PEERS, user_mode_linux),
    ])
}

fn qemu() -> Result<()> {
    let lab = root()?;
    let devices = Devices::new(&lab)?;
    let console = Machine::new("fenced-qemu")
        .cpus(2)
        .vhost_user("vhost-user-blk-pci,num-queues=1", &devices.raw.socket())
        .vhost_user("vhost-user-blk-pci,num-queues=1", &devices.qcow2.socket())
        .vhost_user("vhost-user-blk-pci,num-queues=1", &devices.read_only.socket())
        .vhost_user("vhost-user-blk-pci,num-queues=2", &devices.two_queues.socket())
        .vhost_user("vhost-user-rng-pci", &devices.random.socket())
        .module("virtio_blk")
        .module("virtio-rng")
        .script(SCRIPT)
        .run(&lab, PATIENCE)?;
    devices.check(&lab, &console)
}

fn user_mode_linux() -> Result<()> {
    let lab = root()?;
    let devices = Devices::new(&lab)?;
    let console = Uml::new("fenced-uml")
        .vhost_user(&devices.raw.socket(), BLOCK)
        .vhost_user(&devices.qcow2.socket(), BLOCK)
        .vhost_user(&devices.read_only.socket(), BLOCK)
        .vhost_user(&devices.two_queues.socket(), BLOCK)
        .vhost_user(&devices.random.socket(), ENTROPY)
        .module("virtio_blk")
        .module("virtio-rng")
        .script(SCRIPT)
        .run(&lab, PATIENCE)?;
    devices.check(&lab, &console)
}
