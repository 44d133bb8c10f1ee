//! The model, served to QEMU over vfio-user.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use ringfence_refusal::{Failure, Fault};
use ringfence_vfio_user::{
    Device, InterruptIndex, Mappable, Region, RegionIndex, RegionPart, Server, Stopper,
};

use super::config::MARK;
use super::defect::Defect;
use super::design::Design;
use super::function::{Graphics, Snapshot};
use super::mirror::Mirror;
use crate::scratch::Scratch;

/// A graphics function at a socket. Dropping it ends it.
#[derive(Debug)]
pub struct Served {
    state: Arc<Mutex<State>>,
    socket: PathBuf,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
    // What is in it is used until the end.
    _scratch: Scratch,
}

#[derive(Debug)]
struct State {
    graphics: Graphics,
    mirror: Option<Mirror>,
    /// The first thing that went wrong with the model itself.
    failed: Option<String>,
}

impl Served {
    /// Serves a function as firmware leaves it.
    pub fn start(design: &'static Design, defect: Option<Defect>) -> Result<Self> {
        let graphics = Graphics::new(design, defect);
        let mirror = match defect.is_some_and(Defect::shows_at_once) {
            true => None,
            false => Some(Mirror::new(&graphics)?),
        };
        let mapped = mirror.as_ref().map(|mirror| {
            let part = |(offset, size)| RegionPart { offset: offset as u64, size: size as u64 };
            let file = mirror.file().try_clone().context("no second descriptor of the file")?;
            Ok::<_, anyhow::Error>((file, mirror.parts().map(part).collect()))
        });
        let mapped = mapped.transpose()?;
        let state = Arc::new(Mutex::new(State { graphics, mirror, failed: None }));
        let scratch = Scratch::new()?;
        let socket = scratch.join("graphics.sock");
        let server = Server::bind(&socket)?;
        let stopper = server.stopper();
        let mut function = Function { design, state: Arc::clone(&state), mapped };
        let at_end = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            if let Err(fault) = server.serve(&mut function) {
                lock(&at_end).fail(&format!("{fault}: {}", fault.io_error()));
            }
        });
        Ok(Self { state, socket, stopper, thread: Some(thread), _scratch: scratch })
    }

    /// QEMU's arguments for it, at a place of the root bus such as `02.0`.
    pub fn arguments(&self, place: &str) -> [String; 2] {
        let socket = serde_json::json!({ "type": "unix", "path": self.socket });
        let device =
            serde_json::json!({ "driver": "vfio-user-pci", "addr": place, "socket": socket });
        ["-device".to_owned(), device.to_string()]
    }

    /// What it is like now, with everything in it that was written to mapped memory.
    pub fn now(&self) -> Result<Snapshot> {
        let mut state = lock(&self.state);
        state.settle();
        state.checked()?;
        Ok(state.graphics.now())
    }

    /// What it was like when this was written to the mark in config space, last.
    pub fn at_mark(&self, mark: u8) -> Result<Snapshot> {
        let state = lock(&self.state);
        state.checked()?;
        state.graphics.at_mark(mark).cloned().with_context(|| format!("no mark {mark} was made"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // It has told of what went wrong by `failed`.
            let _ended = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn checked(&self) -> Result<()> {
        match &self.failed {
            Some(failed) => bail!("the model of graphics failed: {failed}"),
            None => Ok(()),
        }
    }

    fn fail(&mut self, what: &str) {
        self.failed.get_or_insert_with(|| what.to_owned());
    }

    /// Does what changes what the aperture shows, with the mapped part of it brought up to date.
    fn around(&mut self, act: impl FnOnce(&mut Graphics)) {
        let collected = match &mut self.mirror {
            Some(mirror) => mirror.collect(&mut self.graphics),
            None => Ok(()),
        };
        act(&mut self.graphics);
        let shown = match &mut self.mirror {
            Some(mirror) => mirror.show(&self.graphics),
            None => Ok(()),
        };
        if let Err(error) = collected.and(shown) {
            self.fail(&format!("{error:#}"));
        }
    }

    /// Reads or writes bytes of BAR 2, whose memory may be mapped at another place, too.
    fn beside(&mut self, offset: usize, length: usize, act: impl FnOnce(&mut Graphics)) {
        let mirror = self.mirror.as_ref();
        match mirror.is_some_and(|mirror| mirror.shows(&self.graphics, offset, length)) {
            true => self.around(act),
            false => act(&mut self.graphics),
        }
    }

    fn settle(&mut self) {
        self.around(|_| {});
        if let Some(mirror) = &self.mirror
            && let Err(error) = mirror.find_lost_writes(&mut self.graphics)
        {
            self.fail(&format!("{error:#}"));
        }
    }
}

/// The device as the server knows it.
struct Function {
    design: &'static Design,
    state: Arc<Mutex<State>>,
    mapped: Option<(File, Vec<RegionPart>)>,
}

impl Device for Function {
    fn region(&self, index: RegionIndex) -> Region<'_> {
        match index {
            RegionIndex::Bar0 => Region::trapped(self.design.bar0_bytes as u64),
            RegionIndex::Bar2 => {
                let mappable = self.mapped.as_ref().map(|(file, parts)| Mappable {
                    descriptor: file.as_fd(),
                    file_offset: 0,
                    parts,
                });
                Region { mappable, ..Region::trapped(self.design.bar2_bytes as u64) }
            }
            RegionIndex::Config => Region::trapped(lock(&self.state).graphics.config.length()),
            _ => Region::ABSENT,
        }
    }

    fn interrupts(&self, index: InterruptIndex) -> u32 {
        u32::from(index == InterruptIndex::Msi)
    }

    fn read(&mut self, region: RegionIndex, offset: u64, data: &mut [u8]) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        match region {
            RegionIndex::Config => state.graphics.config_read(offset, data),
            RegionIndex::Bar0 => state.graphics.bar0_read(place(offset)?, data),
            _ => {
                let (offset, length) = (place(offset)?, data.len());
                state.beside(offset, length, |graphics| graphics.bar2_read(offset, data));
            }
        }
        Ok(())
    }

    fn write(&mut self, region: RegionIndex, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        match region {
            RegionIndex::Config => {
                if offset == MARK {
                    state.settle();
                }
                state.around(|graphics| graphics.config_write(offset, data));
            }
            RegionIndex::Bar0 => {
                let offset = place(offset)?;
                if state.graphics.is_flush(offset, data) {
                    state.around(|graphics| graphics.bar0_write(offset, data));
                } else {
                    state.graphics.bar0_write(offset, data);
                }
            }
            _ => {
                let offset = place(offset)?;
                state.beside(offset, data.len(), |graphics| graphics.bar2_write(offset, data));
            }
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Failure> {
        lock(&self.state).around(Graphics::reset);
        Ok(())
    }
}

/// Bytes into a BAR.
fn place(offset: u64) -> Result<usize, Fault> {
    usize::try_from(offset)
        .map_err(|error| Fault::new("find", format!("{offset:#x}"), std::io::Error::other(error)))
}
