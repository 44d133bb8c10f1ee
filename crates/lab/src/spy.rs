//! The attack the project exists for, as a scene: a guest with a secret on its disk, and a
//! random-number device that reads along.
//!
//! The disk is QEMU's own, so the secret is in the guest's memory only because the guest read it
//! into its page cache. What the spy can do with that is decided by what it was handed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{Backend, Console, LabRoot, Machine, Scratch, binary};

/// What the guest's secret stands behind.
const MARKER: &str = "the secret on the disk is ";

/// A spy that serves random numbers.
#[derive(Debug)]
pub struct Spy(Backend);

/// What a spy found.
#[derive(Debug, Deserialize)]
pub struct Found {
    /// Memory regions it was handed.
    pub regions: usize,
    /// Bytes it can read and write.
    pub bytes_visible: u64,
    /// Texts that stood behind the marker.
    pub texts: BTreeSet<String>,
    /// The guest kernel's banner.
    pub banner: Option<String>,
    /// Addresses of the VMM's own memory that it was told.
    pub vmm_addresses: BTreeSet<String>,
}

impl Spy {
    /// Starts one.
    pub fn start() -> Result<Self> {
        let program = binary("ringfence-spy", "spy")?;
        let backend = Backend::start(program, "spy.sock", |socket| {
            vec![OsString::from(socket), MARKER.into()]
        })?;
        Ok(Self(backend))
    }

    /// The process that listens.
    pub fn backend(&self) -> &Backend {
        &self.0
    }

    /// Everything it found at any time of its life.
    pub fn found(&self) -> Result<Found> {
        let log = self.0.log();
        let lines = log.lines().filter(|line| line.starts_with('{'));
        let found = lines.map(serde_json::from_str).collect::<Result<Vec<Found>, _>>()?;
        let all = found.into_iter().reduce(|mut all, next| {
            all.regions = all.regions.max(next.regions);
            all.bytes_visible = all.bytes_visible.max(next.bytes_visible);
            all.texts.extend(next.texts);
            all.banner = next.banner.or(all.banner);
            all.vmm_addresses.extend(next.vmm_addresses);
            all
        });
        all.with_context(|| format!("the spy said nothing:\n{log}"))
    }
}

/// A secret nobody knows yet.
pub fn new_secret() -> Result<String> {
    let mut bytes = [0; 12];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Runs a guest that reads `secret` from its disk and takes random numbers from `socket`.
pub fn spied_upon(
    lab: &LabRoot,
    secret: &str,
    socket: &Path,
    patience: Duration,
) -> Result<Console> {
    let scratch = Scratch::new()?;
    let image = scratch.join("secret.img");
    let mut content = vec![0; 1 << 20];
    let text = format!("{MARKER}{secret}\n");
    content[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
    fs::write(&image, &content)?;
    let drive = format!("if=virtio,format=raw,file={}", image.display());
    Ok(Machine::new("spied-upon")
        .vhost_user("vhost-user-rng-pci", socket)
        .qemu(["-drive".to_owned(), drive])
        .module("virtio_blk")
        .module("virtio-rng")
        .script(
            "dd if=/dev/vda bs=64k of=/dev/null 2>/dev/null
             echo \"@@ random=$(dd if=/dev/hwrng bs=64 count=16 2>/dev/null | wc -c)\"
             sleep 3",
        )
        .run(lab, patience)?)
}
