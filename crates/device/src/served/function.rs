//! A function as the server of vfio-user knows it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_addr::{Iova, Span};
use ringfence_refusal::{Failure, Fault};
use ringfence_vfio_user::{
    Client, Device, DmaMapping, InterruptIndex, Mappable, Region, RegionIndex, SetInterrupts,
};

use super::blocks::Block;
use super::config::{Config, Overlay, Why};
use super::fence::Fence;
use super::interrupts::{self, Lines, Signals};
use super::memory::{Memory, Reach};
use super::port::Port;
use super::regions::{Described, Lending};
use super::status::{Refused, Status};

/// An open function that is to be served. It is kept from its bus.
#[derive(Debug)]
pub struct Prepared<P> {
    config: Arc<Mutex<Config<P>>>,
    descriptor: OwnedFd,
    regions: [Described; RegionIndex::ALL.len()],
    lines: [Lines; InterruptIndex::ALL.len()],
    can_reset: bool,
}

/// An open function that is served to a VMM.
///
/// Clients come one after another; each finds the function reset, if it has a reset, and reaching
/// nothing. With no client it is kept from its bus.
#[derive(Debug)]
pub struct ServedFunction<P, R> {
    prepared: Prepared<P>,
    lending: Lending,
    memory: Arc<Mutex<Memory<R>>>,
    is_on: [bool; InterruptIndex::ALL.len()],
    refused: Arc<Mutex<Refused>>,
}

impl<P: Port> Prepared<P> {
    /// Asks what the function is, and turns its bus mastering off.
    ///
    /// # Errors
    ///
    /// VFIO does not say, or bus mastering stays on.
    pub fn new(port: P, overlay: Overlay) -> Result<Self, Failure> {
        let function = port.function();
        let mut regions = std::array::from_fn(|_| Described::default());
        for (index, region) in RegionIndex::ALL.into_iter().zip(&mut regions) {
            *region = port.region(index)?;
        }
        let mut lines = [Lines::default(); InterruptIndex::ALL.len()];
        for (index, lines) in InterruptIndex::ALL.into_iter().zip(&mut lines) {
            *lines = port.lines(index)?;
        }
        let descriptor = port.descriptor().try_clone_to_owned();
        let descriptor =
            descriptor.map_err(|error| Fault::new("keep", function.to_string(), error))?;
        let can_reset = port.can_reset()?;
        let own = regions[RegionIndex::Config as usize].clone();
        let mut config = Config::new(port, own, overlay);
        config.fence(Why::Idle)?;
        let config = Arc::new(Mutex::new(config));
        Ok(Self { config, descriptor, regions, lines, can_reset })
    }

    /// What keeps it from its bus, from another thread: a domain's switch.
    pub fn fence(&self) -> Fence<P> {
        Fence(Arc::clone(&self.config))
    }

    /// The function as it is served; `reach` decides what it reaches, in blocks of this size.
    pub fn serve<R: Reach>(self, reach: R, block: Block, lending: Lending) -> ServedFunction<P, R> {
        let memory = Arc::new(Mutex::new(Memory::new(reach, block)));
        let is_on = [false; InterruptIndex::ALL.len()];
        ServedFunction { prepared: self, lending, memory, is_on, refused: Arc::default() }
    }
}

impl<P: Port, R: Reach> ServedFunction<P, R> {
    /// How it is, for whoever asks from another thread.
    pub fn status(&self) -> Status<P, R> {
        let (memory, refused) = (Arc::clone(&self.memory), Arc::clone(&self.refused));
        Status { fence: self.prepared.fence(), memory, refused }
    }

    fn config(&self) -> MutexGuard<'_, Config<P>> {
        self.prepared.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory<R>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, failure: &Failure) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).add(failure);
    }

    /// There is a client: it finds the function reset. What a reset does not take away is the next guest's
    /// to find, as with any VMM; it reaches nothing.
    pub(super) fn begin(&mut self) {
        if self.prepared.can_reset {
            let reset = self.config().port().reset();
            reset.err().into_iter().for_each(|fault| self.count(&fault.into()));
        }
        let readmitted = self.memory().reach.readmit();
        match readmitted {
            Ok(()) => self.config().unfence(Why::Idle),
            Err(failure) => self.count(&failure),
        }
    }

    /// No interrupt of it goes anywhere any more.
    fn silence(&mut self) -> Result<(), Fault> {
        for index in InterruptIndex::ALL {
            if std::mem::take(&mut self.is_on[index as usize]) {
                self.config().port().signal(index, &Signals::OFF)?;
            }
        }
        Ok(())
    }
}

impl<P: Port, R: Reach> Device for ServedFunction<P, R> {
    fn region(&self, index: RegionIndex) -> Region<'_> {
        let Described { length, file_offset, is_readable, is_writable, parts } =
            &self.prepared.regions[index as usize];
        let is_lent = self.lending == Lending::Descriptors && !parts.is_empty();
        let mappable = is_lent.then(|| Mappable {
            descriptor: self.prepared.descriptor.as_fd(),
            file_offset: *file_offset,
            parts,
        });
        let (is_readable, is_writable) = (*is_readable, *is_writable);
        Region { size: *length, is_readable, is_writable, mappable }
    }

    fn interrupts(&self, index: InterruptIndex) -> u32 {
        self.prepared.lines[index as usize].count
    }

    fn can_resize(&self, index: InterruptIndex) -> bool {
        self.prepared.lines[index as usize].can_resize
    }

    fn can_reset(&self) -> bool {
        self.prepared.can_reset
    }

    fn read(&mut self, region: RegionIndex, offset: u64, data: &mut [u8]) -> Result<(), Failure> {
        match region {
            RegionIndex::Config => self.config().read(offset, data),
            _ => {
                let described = &self.prepared.regions[region as usize];
                Ok(self.config().port().read(described, offset, data)?)
            }
        }
    }

    fn write(&mut self, region: RegionIndex, offset: u64, data: &[u8]) -> Result<(), Failure> {
        match region {
            RegionIndex::Config => self.config().write(offset, data),
            _ => {
                let described = &self.prepared.regions[region as usize];
                Ok(self.config().port().write(described, offset, data)?)
            }
        }
    }

    /// What the function was fenced for is over then, if nothing of it is left: it gets its memory again,
    /// but for what was given back.
    fn reset(&mut self) -> Result<(), Failure> {
        self.config().port().reset()?;
        if self.prepared.fence().is_fenced() {
            let mut memory = self.memory();
            memory.reach.readmit()?;
            memory.take_up_all();
        }
        Ok(())
    }

    fn set_interrupts(&mut self, set: SetInterrupts) -> Result<(), Failure> {
        let kind = set.index as usize;
        for signals in interrupts::signals(&set, self.prepared.lines[kind].count, self.is_on[kind])
        {
            self.config().port().signal(set.index, &signals)?;
            if signals.count == 0 {
                self.is_on[kind] = false;
            } else if signals.eventfds.is_some() {
                self.is_on[kind] = true;
            }
        }
        Ok(())
    }

    fn dma_map(&mut self, mapping: DmaMapping) -> Result<(), Failure> {
        self.memory().map(mapping)
    }

    /// What cannot be taken away may be reached still: the function is cut off.
    fn dma_unmap(&mut self, span: Span<Iova>) -> Result<(), Failure> {
        let mut memory = self.memory();
        let Err(failure) = memory.unmap(span) else { return Ok(()) };
        memory.reach.cut_off()?;
        memory.unmap(span).map_err(|_| failure)
    }

    fn connected(&mut self, _client: Client) {
        self.begin();
    }

    /// The function is cut off first, and its memory taken away after.
    fn leaving(&mut self) {
        let fenced = self.config().fence(Why::Idle).map_err(Failure::from);
        let silent = self.silence().map_err(Failure::from);
        let cut_off = self.memory().reach.cut_off();
        for failure in [fenced, silent, cut_off].into_iter().filter_map(Result::err) {
            self.count(&failure);
        }
    }

    fn refused(&mut self, failure: &Failure) {
        self.count(failure);
    }
}
