//! The PCI function: what vfio-user serves, and what the host holds of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_addr::{Iova, Span};
use ringfence_refusal::Failure;
use ringfence_vfio_user::{
    Device, DmaMapping, InterruptIndex, Interrupts, Region, RegionIndex, SetInterrupts,
};

use crate::pci::VirtioDevice;
use crate::pci::config::{BYTES, REGISTERS_BYTES, VECTORS_BYTES};
use crate::pci::state::{Refusals, State};

/// A virtio device as a PCI function. Clones are the same function: one is served
/// ([`ringfence_vfio_user::Server::serve`]), others are the host's side of it.
pub struct Function<D> {
    state: Arc<Mutex<State<D>>>,
    interrupts: Interrupts,
}

impl<D> Clone for Function<D> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), interrupts: self.interrupts.clone() }
    }
}

impl<D: VirtioDevice> Function<D> {
    /// Puts a device behind registers. `name` is how refusals call it.
    pub fn new(device: D, name: &str) -> Self {
        // One for each queue, and one for the configuration.
        let vectors = device.queues().saturating_add(1);
        let interrupts =
            Interrupts::new(&[(InterruptIndex::Intx, 1), (InterruptIndex::MsiX, vectors.into())]);
        let state = State::new(device, name, vectors, interrupts.clone());
        Self { state: Arc::new(Mutex::new(state)), interrupts }
    }

    /// Looks at the device, or changes it; the driver is told if its configuration is another one then.
    pub fn with<R>(&self, look: impl FnOnce(&mut D) -> R) -> R {
        let mut state = self.lock();
        let before = state.device.config();
        let seen = look(&mut state.device);
        if state.device.config() != before {
            state.config_changed();
        }
        seen
    }

    /// Has requests that were put off ([`Answer::NotYet`](super::Answer::NotYet)) looked at again.
    pub fn resume(&self) {
        self.lock().run_all();
    }

    /// What was refused so far.
    pub fn refusals(&self) -> Refusals {
        self.lock().refusals.clone()
    }

    /// Bytes of the guest's memory that the device reaches.
    pub fn memory_bytes(&self) -> u64 {
        self.lock().memory.bytes()
    }

    /// How often the VMM lent something that is not reached: without a descriptor, read-only, or in a file
    /// that can be shrunk.
    pub fn passed_over(&self) -> u64 {
        self.lock().passed_over
    }

    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: VirtioDevice> Device for Function<D> {
    fn region(&self, index: RegionIndex) -> Region<'_> {
        match index {
            RegionIndex::Bar0 => Region::trapped(REGISTERS_BYTES),
            RegionIndex::Bar1 => Region::trapped(VECTORS_BYTES),
            RegionIndex::Config => Region::trapped(BYTES as u64),
            _ => Region::ABSENT,
        }
    }

    fn interrupts(&self, index: InterruptIndex) -> u32 {
        self.interrupts.count(index)
    }

    fn read(&mut self, region: RegionIndex, offset: u64, data: &mut [u8]) -> Result<(), Failure> {
        self.lock().read(region, offset, data);
        Ok(())
    }

    fn write(&mut self, region: RegionIndex, offset: u64, data: &[u8]) -> Result<(), Failure> {
        self.lock().write(region, offset, data);
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Failure> {
        self.lock().reset();
        Ok(())
    }

    fn set_interrupts(&mut self, set: SetInterrupts) -> Result<(), Failure> {
        self.interrupts.set(set)
    }

    fn dma_map(&mut self, mapping: DmaMapping) -> Result<(), Failure> {
        self.lock().lend(mapping)
    }

    fn dma_unmap(&mut self, span: Span<Iova>) -> Result<(), Failure> {
        self.lock().give_up(span);
        Ok(())
    }

    fn disconnected(&mut self) {
        self.lock().disconnect();
    }

    fn refused(&mut self, failure: &Failure) {
        if let Failure::Refused(refusal) = failure {
            self.lock().refused(refusal.clone());
        }
    }
}
