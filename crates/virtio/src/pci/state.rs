//! What is behind a function's lock: its registers, its memory, its device.

use std::os::fd::AsFd;

use ringfence_addr::{Gpa, Iova, Rights, Span};
use ringfence_refusal::{Failure, Fault, Refusal};
use ringfence_vfio_user::{DmaMapping, InterruptIndex, Interrupts, RegionIndex};

use crate::chain::Chain;
use crate::guards::Guards;
use crate::guest_memory::GuestMemory;
use crate::guest_queue::GuestQueue;
use crate::pci::VirtioDevice;
use crate::pci::common::{Common, DRIVER_OK, Effect, NEEDS_RESET, NO_VECTOR};
use crate::pci::config::{
    COMMON_AT, ConfigSpace, DEVICE_AT, DOORBELL_BYTES, ISR_AT, NOTIFY_AT, PART_BYTES, copy_out,
};
use crate::pci::request::{Answer, Request};

/// The bits of the ISR register: a queue, the configuration.
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// What was refused so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How often.
    pub count: u64,
    /// The last of them, with which queue it was, if any.
    pub last: Option<Refusal>,
}

pub(super) struct State<D> {
    pub(super) device: D,
    space: ConfigSpace,
    common: Common,
    isr: u8,
    pub(super) memory: GuestMemory,
    interrupts: Interrupts,
    vectors: u16,
    chain: Chain,
    pub(super) refusals: Refusals,
    /// Mappings of the VMM's that come without a file that can be used.
    pub(super) passed_over: u64,
    /// Spans that are mapped and of no use.
    unused: Vec<Span<Gpa>>,
}

/// More mappings than this without a file are only counted.
const UNUSED_MAX: usize = 4096;

impl<D: VirtioDevice> State<D> {
    pub(super) fn new(device: D, name: &str, vectors: u16, interrupts: Interrupts) -> Self {
        let mut memory = GuestMemory::new(name, (0, 0), Guards::default());
        memory.require_sealed(true);
        Self {
            space: ConfigSpace::new(&device, vectors),
            common: Common::new(device.features(), device.queues()),
            device,
            isr: 0,
            memory,
            interrupts,
            vectors,
            chain: Chain::default(),
            refusals: Refusals::default(),
            passed_over: 0,
            unused: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, region: RegionIndex, offset: u64, data: &mut [u8]) {
        match (region, offset) {
            (RegionIndex::Config, _) => self.space.read(offset, data),
            (RegionIndex::Bar0, COMMON_AT..ISR_AT) => self.common.read(offset, data),
            (RegionIndex::Bar0, ISR_AT..DEVICE_AT) => {
                copy_out(&[self.isr], offset - ISR_AT, data);
                if offset == ISR_AT {
                    self.isr = 0;
                    self.update_line();
                }
            }
            (RegionIndex::Bar0, DEVICE_AT..NOTIFY_AT) => {
                copy_out(&self.device.config(), offset - DEVICE_AT, data);
            }
            _ => data.fill(0),
        }
    }

    pub(super) fn write(&mut self, region: RegionIndex, offset: u64, data: &[u8]) {
        match (region, offset) {
            (RegionIndex::Config, _) => {
                self.space.write(offset, data);
                self.update_line();
            }
            (RegionIndex::Bar0, COMMON_AT..ISR_AT) => {
                match self.common.write(offset, data, self.vectors) {
                    Effect::None => {}
                    Effect::Reset => self.reset_device(),
                    Effect::Start => self.device.start(self.common.accepted),
                    Effect::Refused(refusal) => self.refused(refusal),
                }
            }
            (RegionIndex::Bar0, DEVICE_AT..NOTIFY_AT) => {
                let offset = usize::try_from(offset - DEVICE_AT).unwrap_or(usize::MAX);
                let end = offset.checked_add(data.len());
                if end.is_some_and(|end| end <= self.device.config().len()) {
                    self.device.write_config(offset, data);
                }
            }
            (RegionIndex::Bar0, NOTIFY_AT..) if offset < NOTIFY_AT + PART_BYTES => {
                let queue = (offset - NOTIFY_AT) / DOORBELL_BYTES;
                self.run(usize::try_from(queue).unwrap_or(usize::MAX));
            }
            _ => {}
        }
    }

    /// What a function-level reset does.
    pub(super) fn reset(&mut self) {
        self.space.reset();
        self.reset_device();
    }

    fn reset_device(&mut self) {
        self.common.reset();
        self.isr = 0;
        self.update_line();
        self.device.reset();
    }

    /// Runs every queue: what a device put off is asked again.
    pub(super) fn run_all(&mut self) {
        for queue in 0..self.common.queues.len() {
            self.run(queue);
        }
    }

    fn run(&mut self, index: usize) {
        let is_live = self.common.has(DRIVER_OK) && self.space.is_master();
        let Some(queue) = self.common.queues.get_mut(index) else { return };
        if !is_live || !queue.is_enabled || queue.is_stopped {
            return;
        }
        let number = u16::try_from(index).expect("a device has few queues");
        let ring = match queue.open(&self.memory, self.common.accepted) {
            Ok(ring) => ring,
            Err(refusal) => return self.stop(index, refusal),
        };
        let outcome = answer(ring, &self.memory, &mut self.chain, &mut self.device, number);
        if ring.publish() {
            let vector = queue.vector;
            self.raise(vector, ISR_QUEUE);
        }
        if let Err(refusal) = outcome {
            self.stop(index, refusal);
        }
    }

    /// Stops a queue and asks the driver for a reset (section 2.1.2).
    fn stop(&mut self, index: usize, refusal: Refusal) {
        if let Some(queue) = self.common.queues.get_mut(index) {
            queue.is_stopped = true;
            queue.lose();
        }
        self.refused(refusal.within(format_args!("queue {index}")));
        self.common.status |= NEEDS_RESET;
        self.raise(self.common.config_vector, ISR_CONFIG);
    }

    pub(super) fn refused(&mut self, refusal: Refusal) {
        self.refusals.count += 1;
        self.refusals.last = Some(refusal);
    }

    /// Tells the driver that the configuration is another one.
    pub(super) fn config_changed(&mut self) {
        self.common.generation = self.common.generation.wrapping_add(1);
        if self.common.has(DRIVER_OK) {
            self.raise(self.common.config_vector, ISR_CONFIG);
        }
    }

    fn raise(&mut self, vector: u16, isr: u8) {
        if self.interrupts.is_connected(InterruptIndex::MsiX) {
            if vector != NO_VECTOR {
                self.interrupts.trigger(InterruptIndex::MsiX, vector.into());
            }
        } else {
            self.isr |= isr;
            self.update_line();
        }
    }

    fn update_line(&mut self) {
        self.space.show_line(self.isr != 0);
        self.interrupts.set_level(self.isr != 0 && !self.space.is_line_off());
    }

    /// Takes what the VMM lends: memory with a file of its own that can be read and written.
    pub(super) fn lend(&mut self, mapping: DmaMapping) -> Result<(), Failure> {
        let span = guest(mapping.span);
        let is_whole = mapping.rights.allows(Rights::READ_WRITE);
        let Some(lent) = mapping.memory.filter(|_| is_whole) else {
            self.pass_over(span);
            return Ok(());
        };
        let file = lent
            .descriptor
            .try_clone()
            .map_err(|error| Fault::new("keep", "memory of a guest's", error))?;
        match self.memory.add_span(span, lent.file_offset, lent.descriptor) {
            Ok(()) => self.device.memory_came(span, file.as_fd(), lent.file_offset),
            // A VMM may map what it likes; what we cannot use is of no use to a guest either.
            Err(Failure::Refused(refusal)) => {
                self.pass_over(span);
                self.refused(refusal);
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    fn pass_over(&mut self, span: Span<Gpa>) {
        self.passed_over += 1;
        if self.unused.len() < UNUSED_MAX {
            self.unused.push(span);
        }
    }

    /// Gives up what the VMM takes away. Nothing of it is reached any more when this returns.
    pub(super) fn give_up(&mut self, span: Span<Iova>) {
        let span = guest(span);
        if let Some(place) = self.unused.iter().position(|unused| *unused == span) {
            self.unused.swap_remove(place);
            return;
        }
        // Rings may lie in it; those that do not are found again.
        self.common.queues.iter_mut().for_each(super::common::Queue::lose);
        self.device.memory_goes(span);
        if let Err(refusal) = self.memory.remove_span(span) {
            self.refused(refusal);
        }
    }

    pub(super) fn disconnect(&mut self) {
        self.interrupts.clear();
        self.reset();
    }
}

/// Answers what waits in a ring. Whoever publishes more meanwhile rings again: a driver is never asked not
/// to.
fn answer(
    ring: &mut GuestQueue,
    memory: &GuestMemory,
    chain: &mut Chain,
    device: &mut impl VirtioDevice,
    queue: u16,
) -> Result<(), Refusal> {
    for _ in 0..ring.waiting()? {
        ring.take(memory, chain)?;
        match device.request(queue, &Request { memory, chain })? {
            Answer::Done(written) => ring.complete(chain.head, written),
            Answer::NotYet => {
                ring.put_back();
                break;
            }
        }
    }
    Ok(())
}

/// No IOMMU stands before the function, so its bus addresses are the guest's.
fn guest(span: Span<Iova>) -> Span<Gpa> {
    span.rebase(Gpa::new(span.first().get())).expect("the same addresses of another space")
}
