//! A disk behind the fence beside the same disk connected directly.
//!
//! Each case runs in rounds of direct, then fenced, so that whatever the machine does meanwhile it
//! does to both. The fence is started anew for each round: a fence is made for one VM.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::backend::{Backend, Fence, fence_program, processor_time, storage_daemon, version};
use crate::case::{Case, Storage, cases};
use crate::client::{Client, Outcome};
use crate::disk::Disk;
use crate::folder::Folder;
use crate::report::{Row, median};
use crate::settings::{Settings, in_time, part_processors};
use crate::verify;

/// How long connecting, finishing and leaving may take in a run.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every case needs.
struct Bench<'a> {
    settings: &'a Settings,
    fence: PathBuf,
    /// Where clients run; anywhere if nothing is said.
    client_processor: Option<usize>,
}

/// Measures every case on every storage.
pub(crate) fn run(settings: &Settings) -> Result<Vec<Row>> {
    let bench = Bench::new(settings)?;
    let daemon = storage_daemon();
    eprintln!("virtio: beside {} ({})", version(&daemon)?, daemon.display());
    eprintln!("virtio: filling a file on tmpfs");
    let disk = Disk::fill()?;
    let folder = Folder::new()?;
    let mut rows = Vec::new();
    for storage in [Storage::File, Storage::Null] {
        let backend = Backend::start(storage, &disk, &folder)?;
        if storage == Storage::File {
            bench.check_data(&backend)?;
        }
        for case in cases(settings.quick) {
            rows.push(bench.compare(&backend, storage, &case)?);
        }
    }
    Ok(rows)
}

impl<'a> Bench<'a> {
    fn new(settings: &'a Settings) -> Result<Self> {
        // Built before this thread, and with it cargo, is confined to one processor.
        let fence = fence_program()?;
        let client_processor = settings.pin.then(part_processors).transpose()?;
        Ok(Self { settings, fence, client_processor })
    }

    fn check_data(&self, backend: &Backend) -> Result<()> {
        let fence = Fence::start(&self.fence, &backend.behind)?;
        let (fenced, direct) = (fence.socket.clone(), backend.direct.clone());
        let work = move || verify::through(&fenced, &direct);
        let bytes = in_time("checking data", PATIENCE, self.client_processor, work)
            .context("data written through the fence")?;
        fence.stop()?;
        eprintln!("virtio: {bytes} bytes written through the fence read back the same, twice");
        Ok(())
    }

    fn compare(&self, backend: &Backend, storage: Storage, case: &Case) -> Result<Row> {
        let name = format!("virtio/{}-{}", storage.name(), case.name);
        let rounds = self.settings.rounds;
        let (mut fenced, mut direct, mut costs) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=rounds {
            self.settings.stop_if_asked()?;
            let plain = self
                .measure(case, backend.direct.clone(), None)
                .with_context(|| format!("{name}, direct"))?;
            let fence = Fence::start(&self.fence, &backend.behind)?;
            let outcome = self
                .measure(case, fence.socket.clone(), Some(fence.process()))
                .with_context(|| format!("{name}, fenced"))?;
            fence.stop()?;
            eprintln!(
                "{name}: round {round} of {rounds}: direct {:.0}, fenced {:.0} IOPS",
                plain.rate(),
                outcome.rate()
            );
            direct.push(plain.rate());
            fenced.push(outcome.rate());
            costs.extend(outcome.processor_microseconds_per_request());
        }
        let peer = ("qemu-storage-daemon direct", direct.as_slice());
        let mut row = Row::new(name, "IOPS", &fenced, peer, storage.goal());
        row.fence_cpu_us_per_request = (!costs.is_empty()).then(|| median(&costs));
        Ok(row)
    }

    /// Runs `case` against `socket`, watching what the process `watched` spends meanwhile.
    fn measure(&self, case: &Case, socket: PathBuf, watched: Option<i32>) -> Result<Outcome> {
        let load = case.load;
        let patience = PATIENCE + load.warm_up + load.measured;
        in_time("the run", patience, self.client_processor, move || {
            let mut client = Client::connect(&socket, load.block * load.depth)
                .with_context(|| format!("cannot use the device at {}", socket.display()))?;
            client.run(&load, &|| watched.and_then(processor_time))
        })
    }
}
