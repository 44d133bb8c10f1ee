//! A backend that is killed every second, while a guest writes and reads at random and checks every
//! byte: the guest sees pauses, and nothing else.
//!
//! The backend has no in-flight support of its own (qemu-storage-daemon does not offer it). What is
//! printed of the pauses has in it the time until the successor listens, which is shown beside them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringfence_lab::{Backend, Scratch, Uml, root, tier};
use serde_json::Value;

use crate::disks::Devices;
use crate::fenced::{Fence, random_image};
use crate::{BLOCK, PATIENCE};

/// With the time a kill takes, about one a second.
const BETWEEN: Duration = Duration::from_millis(800);

/// After how many kills it is said how it goes.
const NEWS: u32 = 50;

pub(crate) fn every_second() -> Result<()> {
    let kills = tier::choose(20, 1000);
    let lab = root()?;
    let scratch = Scratch::new()?;
    let (image, _) = random_image(scratch.path(), "disk.img", 128 << 20)?;
    let mut backend = Backend::raw_disk(&lab, &image)?;
    let fence = Fence::new(backend.socket(), "16M")?;
    let mut machine = Uml::new("killed-backend")
        .vhost_user(&fence.socket(), BLOCK)
        .module("virtio_blk")
        .binary(&Devices::guest_program()?)
        .script("echo '@@ begun=yes'\nguest verify /dev/vda")
        .start(&lab)?;
    machine.wait_for("@@ begun=yes", PATIENCE)?;
    let mut absences = Vec::new();
    for kill in 1..=kills {
        std::thread::sleep(BETWEEN);
        machine.send_line("")?;
        let killed = Instant::now();
        backend.kill_and_succeed()?;
        absences.push(killed.elapsed());
        if kill % NEWS == 0 {
            // Why wait for the end of a long run that has failed already?
            let console = machine.console();
            ensure!(console.find("guest: at ").is_none(), "after {kill} kills: {console}");
            let status = fence.status()?;
            let (requests, replayed) = (&status["requests"], &status["replayed"]);
            eprintln!("{kill} kills, {requests} requests, {replayed} given again");
        }
    }
    std::thread::sleep(BETWEEN);
    machine.send_line("end")?;
    let console = machine.finish(PATIENCE)?;
    let value = |key: &str| console.value(key).with_context(|| format!("no {key}\n{console}"));
    ensure!(value("errors")? == "0" && value("wrong")? == "0", "{console}");
    ensure!(value("rounds")? == kills.to_string(), "{console}");
    let status = fence.status()?;
    // The last may have had nothing to do.
    ensure!(status["reconnects"].as_u64() >= Some(u64::from(kills) - 1), "{status:#}");
    ensure!(status["replayed"].as_u64() > Some(0), "nothing was in flight: {status:#}");
    let requests: u64 = value("requests")?.parse()?;
    ensure!(requests > u64::from(kills) * 50, "the guest did too little: {console}");
    eprintln!("{}", summary(kills, &status, absences, value)?);
    // It recovered every time, which is a good end.
    fence.stop()
}

fn summary<'a>(
    kills: u32,
    status: &Value,
    mut absences: Vec<Duration>,
    value: impl Fn(&str) -> Result<&'a str>,
) -> Result<String> {
    let of = |name: &str| -> Result<String> {
        let share = |of: &str| {
            let micros: f64 = value(&format!("{name}-{of}"))?.parse()?;
            anyhow::Ok(micros / 1000.0)
        };
        Ok(shares(share("50")?, share("99")?, share("999")?, share("most")?))
    };
    absences.sort_unstable();
    let absence = |per_mille: usize| {
        let rank = (absences.len() * per_mille).div_ceil(1000);
        let found = absences.get(rank.saturating_sub(1));
        found.map_or(0.0, |absence| absence.as_secs_f64() * 1000.0)
    };
    Ok(format!(
        "{kills} kills, {} requests of the guest's, {} given again, no error, no wrong byte\n\
         every request took          {}\n\
         the slowest after each kill {}\n\
         no backend listened for     {}",
        value("requests")?,
        status["replayed"],
        of("micros")?,
        of("pause")?,
        shares(absence(500), absence(990), absence(999), absence(1000)),
    ))
}

fn shares(half: f64, p99: f64, p999: f64, most: f64) -> String {
    format!("p50 {half:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms, at most {most:.1} ms")
}
