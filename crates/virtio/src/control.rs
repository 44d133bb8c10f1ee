//! What the VMM says, message by message.
//!
//! Each message is answered here or turned into what the backend is told; none is passed on as it
//! came. vhost-user specification, "Front-end message types".

use std::os::fd::OwnedFd;

use ringfence_addr::Hva;
use ringfence_refusal::{Failure, Refusal};
use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures};
use zerocopy::{FromBytes, IntoBytes};

use crate::backend::QUEUES_MAX;
use crate::connection::Connection;
use crate::device::Device;
use crate::features;
use crate::guest_memory::{GuestMemory, REGIONS_MAX};
use crate::guest_queue::{RingAddresses, check_size};
use crate::offences::Peer;
use crate::refusals::{
    FEATURE_NOT_OFFERED, MALFORMED_MESSAGE, OUT_OF_ORDER, UNSUPPORTED_MESSAGE, WRONG_DESCRIPTORS,
};
use crate::wire::{
    Config, DESCRIPTORS_MAX, MemoryRegion, MemoryTable, Message, VRING_INDEX_MASK,
    VRING_NO_DESCRIPTOR, VringAddress, VringState,
};

/// What came of a message.
pub(crate) enum Handled {
    /// It was carried out; there is nothing to say to it unless an acknowledgement was asked for.
    Done,
    /// It has an answer of its own.
    Answer(Vec<u8>),
    /// A queue started or stopped, so other descriptors are to be waited on.
    QueueChanged(usize, Option<Vec<u8>>),
}

/// Which descriptor of a queue a message sets.
#[derive(Clone, Copy)]
enum Signal {
    Kick,
    Call,
    Error,
}

impl Device {
    /// Carries out one message of the VMM's.
    ///
    /// # Errors
    ///
    /// Refusals of what the VMM said or the backend answered; nothing of the message was carried
    /// out then.
    pub(crate) fn handle(&mut self, mut message: Message) -> Result<Handled, Failure> {
        let descriptors = std::mem::take(&mut message.descriptors);
        let Ok(request) = FrontendReq::try_from(message.header.request) else {
            let detail = format!("unknown request {}", message.header.request);
            return Err(Refusal::new(&UNSUPPORTED_MESSAGE, detail).into());
        };
        let within = |failure: Failure| match failure {
            Failure::Refused(refusal) => Failure::Refused(refusal.within(format!("{request:?}"))),
            faulted => faulted,
        };
        self.dispatch(request, &message, descriptors).map_err(within)
    }

    fn dispatch(
        &mut self,
        request: FrontendReq,
        message: &Message,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<Handled, Failure> {
        use FrontendReq as F;
        match request {
            F::SET_MEM_TABLE => return self.set_memory_table(message, descriptors),
            F::ADD_MEM_REG => {
                let file = exactly_one(&mut descriptors)?;
                self.memory.add(&region(message)?, file)?;
                self.show_state();
                return Ok(Handled::Done);
            }
            F::SET_VRING_KICK => return self.set_signal(Signal::Kick, message, descriptors),
            F::SET_VRING_CALL => return self.set_signal(Signal::Call, message, descriptors),
            F::SET_VRING_ERR => return self.set_signal(Signal::Error, message, descriptors),
            F::SET_BACKEND_REQ_FD => {
                let socket = exactly_one(&mut descriptors)?;
                self.channel = Some(Connection::from_descriptor(socket, "VMM channel"));
                return Ok(Handled::Done);
            }
            // libvhost-user's clients pass the file of a region along when they remove it.
            F::REM_MEM_REG if descriptors.len() <= 1 => {}
            _ if !descriptors.is_empty() => {
                let detail = format!("{} descriptors, none expected", descriptors.len());
                return Err(Refusal::new(&WRONG_DESCRIPTORS, detail).into());
            }
            _ => {}
        }
        match request {
            F::GET_FEATURES => Ok(number(features::offered_to_frontend(self.backend.offered()))),
            F::SET_FEATURES => self.set_features(body(message)?),
            F::GET_PROTOCOL_FEATURES => {
                Ok(number(features::protocol_offered_to_frontend(self.backend.protocol_offered())))
            }
            F::SET_PROTOCOL_FEATURES => self.set_protocol_features(body(message)?),
            F::SET_OWNER | F::RESET_OWNER => Ok(Handled::Done),
            F::GET_QUEUE_NUM => Ok(number(self.queues.len() as u64)),
            F::GET_MAX_MEM_SLOTS => Ok(number(REGIONS_MAX as u64)),
            F::REM_MEM_REG => {
                self.memory.remove(&region(message)?)?;
                self.remap_rings();
                self.show_state();
                Ok(Handled::Done)
            }
            F::SET_VRING_NUM => self.set_vring_size(body(message)?),
            F::SET_VRING_ADDR => self.set_vring_addresses(body(message)?),
            F::SET_VRING_BASE => self.set_vring_base(body(message)?),
            F::GET_VRING_BASE => self.get_vring_base(body(message)?),
            F::SET_VRING_ENABLE => self.set_vring_enable(body(message)?),
            F::GET_CONFIG => self.get_config(message),
            F::SET_CONFIG => {
                let (head, bytes) = config(message)?;
                self.backend.set_config(head, bytes)?;
                Ok(Handled::Done)
            }
            F::NET_SET_MTU if self.backend.has(VhostUserProtocolFeatures::MTU) => {
                self.backend.relay_number(request, body(message)?)?;
                Ok(Handled::Done)
            }
            F::SEND_RARP if self.backend.has(VhostUserProtocolFeatures::RARP) => {
                self.backend.relay_number(request, body(message)?)?;
                Ok(Handled::Done)
            }
            _ => Err(Refusal::new(&UNSUPPORTED_MESSAGE, "").into()),
        }
    }

    fn set_features(&mut self, accepted: u64) -> Result<Handled, Failure> {
        let offered = features::offered_to_frontend(self.backend.offered());
        if accepted & !offered != 0 {
            let detail = format!("{accepted:#x} of {offered:#x} offered");
            return Err(Refusal::new(&FEATURE_NOT_OFFERED, detail).into());
        }
        if self.queues.iter().any(|queue| queue.running.is_some()) {
            // QEMU sends its features again for migration, while rings run; only the same will do.
            if self.acknowledged == Some(accepted) {
                return Ok(Handled::Done);
            }
            return Err(Refusal::new(&OUT_OF_ORDER, "features changed while queues run").into());
        }
        let backend = features::acknowledged_to_backend(self.backend.offered(), accepted);
        self.backend.set_features(backend)?;
        self.acknowledged = Some(accepted);
        if accepted & features::PROTOCOL_FEATURES == 0 {
            // "If VHOST_USER_F_PROTOCOL_FEATURES has not been negotiated, the ring starts directly
            // in the enabled state."
            self.queues.iter_mut().for_each(|queue| queue.enabled = true);
        }
        Ok(Handled::Done)
    }

    fn set_protocol_features(&mut self, accepted: u64) -> Result<Handled, Failure> {
        let offered = features::protocol_offered_to_frontend(self.backend.protocol_offered());
        if accepted & !offered != 0 {
            let detail = format!("protocol features {accepted:#x} of {offered:#x} offered");
            return Err(Refusal::new(&FEATURE_NOT_OFFERED, detail).into());
        }
        self.protocol = accepted;
        Ok(Handled::Done)
    }

    fn set_memory_table(
        &mut self,
        message: &Message,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Handled, Failure> {
        let (table, mut rest) = message.body_with_tail::<MemoryTable>().ok_or_else(too_short)?;
        let count = table.regions as usize;
        // User-Mode Linux sends room for two regions and names one: what is not counted is not read.
        if count > DESCRIPTORS_MAX || rest.len() < count * size_of::<MemoryRegion>() {
            let detail = format!("{count} regions in {} bytes", message.payload.len());
            return Err(Refusal::new(&MALFORMED_MESSAGE, detail).into());
        }
        if descriptors.len() != count {
            let detail = format!("{} descriptors for {count} regions", descriptors.len());
            return Err(Refusal::new(&WRONG_DESCRIPTORS, detail).into());
        }
        // The new table is built beside the old one, which stands if anything is refused.
        let mut memory =
            GuestMemory::new(&self.options.name, self.window.identity()?, self.options.guards);
        memory.require_sealed(self.options.sealed_memory);
        for file in descriptors {
            let (region, after) = MemoryRegion::read_from_prefix(rest).map_err(|_| too_short())?;
            rest = after;
            memory.add(&region, file)?;
        }
        self.memory = memory;
        self.remap_rings();
        self.show_state();
        Ok(Handled::Done)
    }

    fn set_vring_size(&mut self, state: VringState) -> Result<Handled, Failure> {
        let index = self.stopped_queue(state.index)?;
        let size = u16::try_from(state.number).unwrap_or(0);
        check_size(size)?;
        self.queues[index].size = size;
        Ok(Handled::Done)
    }

    fn set_vring_addresses(&mut self, address: VringAddress) -> Result<Handled, Failure> {
        let index = self.stopped_queue(address.index)?;
        self.queues[index].addresses = Some(RingAddresses {
            descriptors: Hva::new(address.descriptors).into(),
            available: Hva::new(address.available).into(),
            used: Hva::new(address.used).into(),
        });
        self.started(index)
    }

    fn set_vring_base(&mut self, state: VringState) -> Result<Handled, Failure> {
        let index = self.stopped_queue(state.index)?;
        self.queues[index].base = u16::try_from(state.number).map_err(|_| {
            Refusal::new(&MALFORMED_MESSAGE, format!("base {} of a split ring", state.number))
        })?;
        Ok(Handled::Done)
    }

    fn get_vring_base(&mut self, state: VringState) -> Result<Handled, Failure> {
        let index = self.queue(state.index)?;
        if let Err(failure) = self.stop(index) {
            // The VMM waits for the answer and must have it; what went wrong is counted.
            self.note(Peer::Backend, failure);
        }
        // "The back-end must stop the ring upon receiving GET_VRING_BASE"; a new start brings new
        // descriptors.
        let queue = &mut self.queues[index];
        queue.kick = None;
        queue.call = None;
        queue.error = None;
        let answer = VringState { index: state.index, number: queue.base.into() };
        self.show_state();
        Ok(Handled::QueueChanged(index, Some(answer.as_bytes().to_vec())))
    }

    fn set_vring_enable(&mut self, state: VringState) -> Result<Handled, Failure> {
        let index = self.queue(state.index)?;
        let enable = match state.number {
            0 => false,
            1 => true,
            other => {
                let detail = format!("{other}, neither 0 nor 1");
                return Err(Refusal::new(&MALFORMED_MESSAGE, detail).into());
            }
        };
        self.queues[index].enabled = enable;
        if !enable && self.queues[index].running.is_some() {
            // A disabled ring is not served; what is in flight comes home first.
            self.stop(index)?;
            self.show_state();
            return Ok(Handled::QueueChanged(index, None));
        }
        self.started(index)
    }

    fn set_signal(
        &mut self,
        signal: Signal,
        message: &Message,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<Handled, Failure> {
        let number: u64 = body(message)?;
        let index = self.queue(u32::try_from(number & VRING_INDEX_MASK).expect("eight bits"))?;
        let without = number & VRING_NO_DESCRIPTOR != 0;
        let descriptor = match (without, descriptors.len()) {
            (true, 0) => None,
            (false, 1) => descriptors.pop(),
            (_, count) => {
                let detail = format!("{count} descriptors with {number:#x}");
                return Err(Refusal::new(&WRONG_DESCRIPTORS, detail).into());
            }
        };
        let queue = &mut self.queues[index];
        match signal {
            Signal::Call => queue.call = descriptor,
            Signal::Error => queue.error = descriptor,
            Signal::Kick => {
                if descriptor.is_none() {
                    let detail = "a queue without a kick would have to be polled";
                    return Err(Refusal::new(&UNSUPPORTED_MESSAGE, detail).into());
                }
                if queue.running.is_some() {
                    let detail = format!("queue {index} runs; its kick cannot be replaced");
                    return Err(Refusal::new(&OUT_OF_ORDER, detail).into());
                }
                queue.kick = descriptor;
            }
        }
        self.started(index)
    }

    fn get_config(&mut self, message: &Message) -> Result<Handled, Failure> {
        let (head, _) = config(message)?;
        match self.backend.config(head) {
            Ok(bytes) => Ok(Handled::Answer([head.as_bytes(), &bytes].concat())),
            Err(failure) => {
                // "On error, the back-end replies with a payload of size zero."
                self.note(Peer::Backend, failure);
                Ok(Handled::Answer(Vec::new()))
            }
        }
    }

    /// Starts a queue if it has become ready.
    fn started(&mut self, index: usize) -> Result<Handled, Failure> {
        if self.start_if_ready(index)? {
            self.show_state();
            return Ok(Handled::QueueChanged(index, None));
        }
        Ok(Handled::Done)
    }

    fn queue(&self, index: u32) -> Result<usize, Refusal> {
        let found = usize::try_from(index).ok().filter(|index| *index < self.queues.len());
        found.ok_or_else(|| {
            let detail = format!("queue {index} of {} (at most {QUEUES_MAX})", self.queues.len());
            Refusal::new(&OUT_OF_ORDER, detail)
        })
    }

    fn stopped_queue(&self, index: u32) -> Result<usize, Refusal> {
        let index = self.queue(index)?;
        if self.queues[index].running.is_some() {
            return Err(Refusal::new(&OUT_OF_ORDER, format!("queue {index} runs")));
        }
        Ok(index)
    }

    /// Counts what `peer` did wrong without failing the message it came with.
    pub(crate) fn note(&mut self, peer: Peer, failure: Failure) {
        match failure {
            Failure::Refused(refusal) => self.counters.refuse(peer, refusal),
            Failure::Faulted(fault) => {
                let detail = format!("{fault}: {}", fault.io_error());
                self.counters.refuse(peer, Refusal::new(&crate::refusals::BACKEND_GONE, detail));
            }
        }
        self.show_state();
    }
}

fn too_short() -> Refusal {
    Refusal::new(&MALFORMED_MESSAGE, "the payload is too short")
}

fn body<T: FromBytes>(message: &Message) -> Result<T, Refusal> {
    message.body().ok_or_else(|| {
        Refusal::new(&MALFORMED_MESSAGE, format!("a payload of {} bytes", message.header.size))
    })
}

/// The region of a single-region message.
fn region(message: &Message) -> Result<MemoryRegion, Refusal> {
    let (_, rest) = message.body_with_tail::<MemoryTable>().ok_or_else(too_short)?;
    MemoryRegion::read_from_bytes(rest).map_err(|_| too_short())
}

fn config(message: &Message) -> Result<(Config, &[u8]), Refusal> {
    message.body_with_tail().ok_or_else(too_short)
}

fn exactly_one(descriptors: &mut Vec<OwnedFd>) -> Result<OwnedFd, Refusal> {
    match descriptors.pop() {
        Some(descriptor) if descriptors.is_empty() => Ok(descriptor),
        Some(_) => {
            let detail = format!("{} descriptors, one expected", descriptors.len() + 1);
            Err(Refusal::new(&WRONG_DESCRIPTORS, detail))
        }
        None => Err(Refusal::new(&WRONG_DESCRIPTORS, "no descriptor, one expected")),
    }
}

fn number(number: u64) -> Handled {
    Handled::Answer(number.as_bytes().to_vec())
}
