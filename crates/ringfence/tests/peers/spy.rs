//! The attack the project exists for: a random-number device that reads along. Connected directly
//! it finds the guest's secret; behind the fence it finds nothing, and the guest gets its random
//! numbers all the same.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ringfence_lab::{Backend, Console, LabRoot, Machine, Scratch, binary, root};
use serde::Deserialize;

use crate::PATIENCE;
use crate::fenced::{Fenced, random_image};

/// What the guest's secret stands behind.
const MARKER: &str = "the secret on the disk is ";

/// The last line of what the spy says.
#[derive(Debug, Deserialize)]
struct Found {
    regions: usize,
    bytes_visible: u64,
    texts: BTreeSet<String>,
    banner: Option<String>,
    vmm_addresses: Vec<String>,
}

fn start() -> Result<Backend> {
    Backend::start(binary("ringfence-spy", "spy")?, "spy.sock", |socket| {
        vec![OsString::from(socket), MARKER.into()]
    })
}

/// Everything the spy found at any time of its life.
fn said(spy: &Backend) -> Result<Found> {
    let log = spy.log();
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let all = lines.map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<Vec<Found>>>()?;
    let all = all.into_iter().reduce(|mut all, next| {
        all.texts.extend(next.texts);
        all.vmm_addresses.extend(next.vmm_addresses);
        all.banner = next.banner.or(all.banner);
        all.bytes_visible = all.bytes_visible.max(next.bytes_visible);
        all.regions = all.regions.max(next.regions);
        all
    });
    all.with_context(|| format!("the spy said nothing:\n{log}"))
}

/// A guest that reads a secret from its disk, which the spy does not serve, into its page cache.
fn guest(lab: &LabRoot, secret: &str, socket: &Path) -> Result<Console> {
    let scratch = Scratch::new()?;
    let (image, _) = random_image(scratch.path(), "secret.img", 1 << 20)?;
    let mut content = std::fs::read(&image)?;
    let text = format!("{MARKER}{secret}\n");
    content[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
    std::fs::write(&image, &content)?;
    Ok(Machine::new("spied-upon")
        .vhost_user("vhost-user-rng-pci", socket)
        .qemu(["-drive".to_owned(), format!("if=virtio,format=raw,file={}", image.display())])
        .module("virtio_blk")
        .module("virtio-rng")
        .script(
            "dd if=/dev/vda bs=64k of=/dev/null 2>/dev/null
             echo \"@@ random=$(dd if=/dev/hwrng bs=64 count=16 2>/dev/null | wc -c)\"
             sleep 3",
        )
        .run(lab, PATIENCE)?)
}

fn new_secret() -> Result<String> {
    let mut bytes = [0; 12];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(crate) fn direct() -> Result<()> {
    let lab = root()?;
    let spy = start()?;
    let secret = new_secret()?;
    let console = guest(&lab, &secret, spy.socket())?;
    ensure!(console.value("random") == Some("1024"), "{console}");
    let found = said(&spy)?;
    ensure!(found.texts.contains(&secret), "the attack does not work: {found:?}");
    ensure!(found.banner.is_some_and(|banner| banner.contains("6.12")), "no banner");
    ensure!(found.bytes_visible >= 512 << 20, "it saw {} bytes only", found.bytes_visible);
    Ok(())
}

pub(crate) fn fenced() -> Result<()> {
    let lab = root()?;
    let spy = Fenced::new(start()?, "1M")?;
    let secret = new_secret()?;
    let console = guest(&lab, &secret, &spy.socket())?;
    ensure!(console.value("random") == Some("1024"), "{console}");
    spy.expect_clean("the spy")?;
    let found = said(spy.backend())?;
    ensure!(found.texts.is_empty(), "the spy found {found:?}");
    ensure!(found.banner.is_none(), "the spy found {found:?}");
    ensure!(found.bytes_visible == 1 << 20, "the spy saw more than its window: {found:?}");
    ensure!(found.regions == 1, "the spy was handed more than its window: {found:?}");
    let told: BTreeSet<&String> = found.vmm_addresses.iter().collect();
    ensure!(told.len() == 1, "the spy was told addresses of the VMM's: {found:?}");
    spy.stop()
}
