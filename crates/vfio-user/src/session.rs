//! One client, from its version to its end.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use ringfence_addr::Span;
use ringfence_refusal::{Failure, Fault, Refusal};

use crate::answer::Answer;
use crate::client::{Client, Link};
use crate::connection::{Connection, Message, Received};
use crate::device::{Device, InterruptChange, SetInterrupts};
use crate::mappings::Mappings;
use crate::refusals::{NO_INTERRUPT, OUT_OF_ORDER, OUTSIDE_REGION, UNSUPPORTED, errno};
use crate::request::{self, Access, Action, Request, Unmap, VectorChange, VectorData};
use crate::server::Stopper;
use crate::wire::{Header, VECTORS_MAX};

/// Serves one client until it goes, is refused for good, or the server is to stop.
pub(crate) fn serve(
    stream: UnixStream,
    device: &mut dyn Device,
    stop: &Stopper,
) -> Result<(), Failure> {
    let link = Arc::new(Link::new(Connection::new(stream, stop.clone())));
    let mut session = Session { device, link, mappings: Mappings::default(), is_agreed: false };
    let ended = session.run();
    session.end();
    ended
}

struct Session<'d> {
    device: &'d mut dyn Device,
    link: Arc<Link>,
    mappings: Mappings,
    is_agreed: bool,
}

/// What became of a request: an answer, or why there is none, and whether that is the end.
enum Outcome {
    Answered,
    Failed(Failure),
    Ended(Failure),
}

impl Session<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let mut body = Vec::new();
        let mut answer = Answer::default();
        loop {
            let message = match self.link.connection().receive(body)? {
                Received::Message(message) => message,
                Received::Closed | Received::Stopped => return Ok(()),
            };
            if message.header.is_reply() {
                self.link.answered(message)?;
                body = Vec::new();
                continue;
            }
            let Message { header, body: said, descriptors } = message;
            answer.clear();
            let outcome = match Request::parse(header, &said, descriptors) {
                Ok(request) => self.carry_out(request, &mut answer),
                // A proposal that cannot be read is as good as none.
                Err(refusal) if !self.is_agreed => Outcome::Ended(refusal.into()),
                Err(refusal) => Outcome::Failed(refusal.into()),
            };
            if let Outcome::Failed(failure) = &outcome {
                self.device.refused(failure);
            }
            let goes_on = !header.wants_reply() || self.tell(header, &outcome, &mut answer)?;
            if let Outcome::Ended(failure) = outcome {
                return Err(failure);
            }
            if !goes_on {
                return Ok(());
            }
            body = said;
        }
    }

    /// Sends an answer; false when the server is to stop.
    fn tell(&self, asked: Header, outcome: &Outcome, answer: &mut Answer) -> Result<bool, Fault> {
        let header = match outcome {
            Outcome::Answered => asked.reply(),
            Outcome::Failed(failure) | Outcome::Ended(failure) => {
                answer.clear();
                asked.failure(errno(failure).raw_os_error())
            }
        };
        let descriptor = answer.descriptor.take();
        self.link.connection().send(header, &mut answer.bytes, descriptor.as_ref())
    }

    /// What the client leaves behind is taken away.
    fn end(&mut self) {
        self.link.end();
        if self.is_agreed {
            self.device.leaving();
        }
        while let Some(span) = self.mappings.next_in(Span::whole()) {
            if let Err(failure) = self.device.dma_unmap(span) {
                self.device.refused(&failure);
            }
            self.mappings.remove(span);
        }
        if self.is_agreed {
            self.device.disconnected();
        }
    }

    fn carry_out(&mut self, request: Request<'_>, answer: &mut Answer) -> Outcome {
        let is_version = matches!(request, Request::Version(_));
        if is_version == self.is_agreed {
            let detail = if is_version { "a second version" } else { "a request before a version" };
            return Outcome::Ended(Refusal::new(&OUT_OF_ORDER, detail).into());
        }
        match self.answer(request, answer) {
            Ok(()) => Outcome::Answered,
            Err(failure) => Outcome::Failed(failure),
        }
    }

    fn answer(&mut self, request: Request<'_>, answer: &mut Answer) -> Result<(), Failure> {
        match request {
            Request::Version(proposal) => {
                answer.version(proposal);
                self.is_agreed = true;
                self.link.set_transfer_bytes_max(proposal.transfer_bytes_max);
                self.device.connected(Client::new(Arc::clone(&self.link)));
            }
            Request::Map(mapping) => {
                let span = mapping.span;
                self.mappings.check_free(span)?;
                self.device.dma_map(mapping)?;
                self.mappings.add(span);
            }
            Request::Unmap(unmap) => self.unmap(unmap, answer)?,
            Request::DeviceInfo => answer.device_info(self.device.can_reset()),
            Request::RegionInfo { index, room } => {
                answer.region_info(index, &self.device.region(index), room)?;
            }
            Request::InterruptInfo(index) => {
                let can_resize = self.device.can_resize(index);
                answer.interrupt_info(index, self.interrupts(index), can_resize);
            }
            Request::SetInterrupts(change) => self.set_interrupts(change)?,
            Request::Read(access) => {
                self.check_access(access, false)?;
                let data = answer.read(access);
                self.device.read(access.region, access.offset, data)?;
            }
            Request::Write(access, data) => {
                self.write(access, data)?;
                answer.written(access);
            }
            Request::WriteMany(writes) => {
                for write in writes {
                    let (access, data) = request::small(write)?;
                    self.write(access, data)?;
                }
                answer.written_many(writes.len());
            }
            Request::Reset => self.device.reset()?,
        }
        Ok(())
    }

    fn unmap(&mut self, unmap: Unmap, answer: &mut Answer) -> Result<(), Failure> {
        self.mappings.check_whole(unmap.span)?;
        while let Some(span) = self.mappings.next_in(unmap.span) {
            self.device.dma_unmap(span)?;
            self.mappings.remove(span);
        }
        answer.unmapped(unmap.wire);
        Ok(())
    }

    fn write(&mut self, access: Access, data: &[u8]) -> Result<(), Failure> {
        self.check_access(access, true)?;
        self.device.write(access.region, access.offset, data)
    }

    fn check_access(&self, access: Access, is_write: bool) -> Result<(), Refusal> {
        let region = self.device.region(access.region);
        let is_allowed = if is_write { region.is_writable } else { region.is_readable };
        let end = access.offset.checked_add(access.count.into());
        if is_allowed && end.is_some_and(|end| end <= region.size) {
            return Ok(());
        }
        let what = if is_write { "written" } else { "read" };
        let detail = format!(
            "{:#x} bytes of {:?} at {:#x} cannot be {what}: it has {:#x}",
            access.count, access.region, access.offset, region.size
        );
        Err(Refusal::new(&OUTSIDE_REGION, detail))
    }

    fn interrupts(&self, index: crate::InterruptIndex) -> u32 {
        self.device.interrupts(index).min(VECTORS_MAX)
    }

    fn set_interrupts(&mut self, change: VectorChange<'_>) -> Result<(), Failure> {
        let VectorChange { index, first, count, action, data } = change;
        let there = self.interrupts(index);
        let end = first.checked_add(count).filter(|end| *end <= there);
        let Some(end) = end else {
            let detail = format!("{count} of {index:?} from {first}: there are {there}");
            return Err(Refusal::new(&NO_INTERRUPT, detail).into());
        };
        let all = first..end;
        let (vectors, change) = match (data, action) {
            // No vector at all means all of them, which are let go.
            (VectorData::All, Action::Trigger) if count == 0 && first == 0 => {
                ((0..there).collect(), InterruptChange::Disconnect)
            }
            (VectorData::All, _) => (all.collect(), done_by(action)),
            (VectorData::Where(wanted), _) => {
                let wanted = all.zip(wanted).filter(|(_, wanted)| **wanted != 0);
                (wanted.map(|(vector, _)| vector).collect(), done_by(action))
            }
            (VectorData::Eventfds(eventfds), Action::Trigger) if eventfds.is_empty() => {
                (all.collect(), InterruptChange::Disconnect)
            }
            (VectorData::Eventfds(eventfds), Action::Trigger) => {
                (all.collect(), InterruptChange::Connect(eventfds))
            }
            (VectorData::Eventfds(_), _) => {
                let detail = format!("an eventfd to {action:?} {index:?}");
                return Err(Refusal::new(&UNSUPPORTED, detail).into());
            }
        };
        self.device.set_interrupts(SetInterrupts { index, vectors, change })
    }
}

fn done_by(action: Action) -> InterruptChange {
    match action {
        Action::Mask => InterruptChange::Mask,
        Action::Unmask => InterruptChange::Unmask,
        Action::Trigger => InterruptChange::Trigger,
    }
}
