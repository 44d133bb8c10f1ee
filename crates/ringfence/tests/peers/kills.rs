//! A backend that is killed again and again, while a guest writes and reads at random and checks
//! every byte: the guest sees pauses, and nothing else.
//!
//! The backend has no in-flight support of its own (qemu-storage-daemon does not offer it).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfence_lab::{Backend, Scratch, Uml, root};

use crate::disks::Devices;
use crate::fenced::{Fence, random_image};
use crate::{BLOCK, PATIENCE};

const KILLS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(800);

pub(crate) fn every_second() -> Result<()> {
    let lab = root()?;
    let scratch = Scratch::new()?;
    let (image, _) = random_image(scratch.path(), "disk.img", 128 << 20)?;
    let mut backend = Backend::raw_disk(&lab, &image)?;
    let fence = Fence::new(backend.socket(), "16M")?;
    let seconds = u64::from(KILLS) + 2;
    let mut machine = Uml::new("killed-backend")
        .vhost_user(&fence.socket(), BLOCK)
        .module("virtio_blk")
        .binary(&Devices::guest_program()?)
        .script(&format!("echo '@@ begun=yes'\nguest verify /dev/vda {seconds}"))
        .start(&lab)?;
    machine.wait_for("@@ begun=yes", PATIENCE)?;
    for _ in 0..KILLS {
        std::thread::sleep(BETWEEN);
        backend.kill_and_succeed()?;
    }
    let console = machine.finish(PATIENCE)?;
    let value = |key: &str| console.value(key).with_context(|| format!("no {key}\n{console}"));
    ensure!(value("errors")? == "0" && value("wrong")? == "0", "{console}");
    let status = fence.status()?;
    ensure!(status["reconnects"].as_u64() >= Some(u64::from(KILLS) - 1), "{status:#}");
    ensure!(status["replayed"].as_u64() > Some(0), "nothing was in flight: {status:#}");
    let requests: u64 = value("requests")?.parse()?;
    ensure!(requests > 1000, "the guest did too little: {console}");
    eprintln!(
        "{KILLS} kills, {requests} requests of the guest's, {} given again; took in µs: half {}, \
         99% {}, 99.9% {}, all {}",
        status["replayed"],
        value("micros-50")?,
        value("micros-99")?,
        value("micros-999")?,
        value("micros-most")?,
    );
    // It recovered every time, which is a good end.
    fence.stop()
}
