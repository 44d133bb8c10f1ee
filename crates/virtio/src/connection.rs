//! One end of a vhost-user socket: whole messages in and out, bounded in size and time.
//!
//! Reading never blocks and never takes more from the socket than the message in hand, so
//! descriptors stay with the message they came with. A message that arrives in pieces is kept until
//! it is whole; a peer that stalls half way holds up nobody else.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::refusals::{MALFORMED_MESSAGE, PEER_SILENT, WRONG_DESCRIPTORS};
use crate::wire::{DESCRIPTORS_MAX, HEADER_BYTES, Header, Message, PAYLOAD_BYTES_MAX};

/// A connected vhost-user socket.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    peer: &'static str,
    partial: Partial,
}

/// What has come of the next message.
#[derive(Debug, Default)]
struct Partial {
    header: Option<Header>,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// What a look at the socket found.
#[derive(Debug)]
pub enum Received {
    /// A whole message.
    Message(Message),
    /// Nothing, or not yet a whole one.
    Nothing,
    /// The peer has closed its end.
    Closed,
}

impl Connection {
    /// Takes a connected stream; `peer` names the other end in errors ("frontend", "backend").
    pub fn new(stream: UnixStream, peer: &'static str) -> Self {
        Self::from_descriptor(stream.into(), peer)
    }

    /// Takes a connected stream socket that came as a descriptor.
    pub fn from_descriptor(socket: OwnedFd, peer: &'static str) -> Self {
        Self { socket, peer, partial: Partial::default() }
    }

    /// Takes whatever has arrived, without waiting.
    ///
    /// # Errors
    ///
    /// `RF0201` and `RF0203` for what is no message; the connection is of no use after that. A
    /// fault when the socket fails.
    pub fn receive(&mut self) -> Result<Received, Failure> {
        loop {
            let wanted = match self.partial.header {
                None => HEADER_BYTES,
                Some(header) => header.size as usize,
            };
            if self.partial.bytes.len() < wanted {
                match self.fill(wanted)? {
                    Filled::All => {}
                    Filled::Part => return Ok(Received::Nothing),
                    Filled::End => return self.closed(),
                }
            }
            if self.partial.header.is_some() {
                let partial = std::mem::take(&mut self.partial);
                return Ok(Received::Message(Message {
                    header: partial.header.expect("just seen"),
                    payload: partial.bytes,
                    descriptors: partial.descriptors,
                }));
            }
            self.partial.header = Some(self.parse_header()?);
            self.partial.bytes.clear();
        }
    }

    fn closed(&mut self) -> Result<Received, Failure> {
        if self.partial.header.is_some() || !self.partial.bytes.is_empty() {
            let detail = format!("{} closed in the middle of a message", self.peer);
            return Err(Refusal::new(&MALFORMED_MESSAGE, detail).into());
        }
        Ok(Received::Closed)
    }

    fn parse_header(&self) -> Result<Header, Refusal> {
        let header = Header::read_from_bytes(&self.partial.bytes).expect("a header's bytes");
        if !header.is_version_1() {
            let detail =
                format!("{} sent request {} with another version", self.peer, header.request);
            return Err(Refusal::new(&MALFORMED_MESSAGE, detail));
        }
        // Invariant `never-held-up`: room is made for no more than this.
        if header.size as usize > PAYLOAD_BYTES_MAX {
            let detail = format!(
                "{} announced {} bytes for request {}, the most is {PAYLOAD_BYTES_MAX}",
                self.peer, header.size, header.request
            );
            return Err(Refusal::new(&MALFORMED_MESSAGE, detail));
        }
        Ok(header)
    }

    /// Reads until `wanted` bytes are there, taking descriptors along.
    fn fill(&mut self, wanted: usize) -> Result<Filled, Failure> {
        while self.partial.bytes.len() < wanted {
            let have = self.partial.bytes.len();
            self.partial.bytes.resize(wanted, 0);
            // Room for more than any message has, so that too many is seen and not cut short.
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let result = recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(&mut self.partial.bytes[have..])],
                &mut control,
                RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
            );
            let received = result.as_ref().map_or(0, |message| message.bytes);
            self.partial.bytes.truncate(have + received);
            let flags = match result {
                Ok(message) => message.flags,
                Err(Errno::AGAIN) => return Ok(Filled::Part),
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => return Ok(Filled::End),
                Err(errno) => return Err(Fault::new("read from", self.peer, errno).into()),
            };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    self.partial.descriptors.extend(descriptors);
                }
            }
            if flags.contains(ReturnFlags::CTRUNC)
                || self.partial.descriptors.len() > DESCRIPTORS_MAX
            {
                let detail = format!(
                    "{} sent more than {DESCRIPTORS_MAX} descriptors with one message",
                    self.peer
                );
                return Err(Refusal::new(&WRONG_DESCRIPTORS, detail).into());
            }
            if received == 0 {
                return Ok(Filled::End);
            }
        }
        Ok(Filled::All)
    }

    /// Waits for a whole message, but not past `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Connection::receive`], and `RF0214` when the deadline passes first.
    pub fn receive_by(&mut self, deadline: Instant) -> Result<Received, Failure> {
        loop {
            match self.receive()? {
                Received::Nothing => self.wait_for(PollFlags::IN, deadline)?,
                found => return Ok(found),
            }
        }
    }

    /// Sends a whole message, waiting for room if need be, but not past `deadline`.
    ///
    /// # Errors
    ///
    /// `RF0214` when the deadline passes first; a fault when the peer is gone.
    pub fn send_by(&mut self, message: &Message, deadline: Instant) -> Result<(), Failure> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + message.payload.len());
        bytes.extend_from_slice(message.header.as_bytes());
        bytes.extend_from_slice(&message.payload);
        let descriptors: Vec<BorrowedFd<'_>> =
            message.descriptors.iter().map(AsFd::as_fd).collect();
        let mut sent = 0;
        while sent < bytes.len() {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            // Descriptors go with the first byte, and only once.
            if sent == 0 && !descriptors.is_empty() {
                let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
                assert!(fits, "a message of our own has too many descriptors");
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.socket, &[IoSlice::new(&bytes[sent..])], &mut control, flags) {
                Ok(count) => sent += count,
                Err(Errno::AGAIN) => self.wait_for(PollFlags::OUT, deadline)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Fault::new("send to", self.peer, errno).into()),
            }
        }
        Ok(())
    }

    /// Invariant `never-held-up`: nothing else here waits.
    fn wait_for(&self, what: PollFlags, deadline: Instant) -> Result<(), Failure> {
        #[cfg(feature = "fuzzing")]
        if crate::fuzzing::turn(crate::fuzzing::Waiting::Message) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let mut set = [PollFd::new(&self.socket, what)];
        match poll(&mut set, Some(&timespec(left))) {
            Ok(0) => {
                let detail = format!("{} was silent until the deadline", self.peer);
                Err(Refusal::new(&PEER_SILENT, detail).into())
            }
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Fault::new("wait for", self.peer, errno).into()),
        }
    }
}

enum Filled {
    All,
    Part,
    End,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A duration as the kernel takes it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        (Connection::new(ours, "frontend"), theirs)
    }

    fn refused(result: Result<Received, Failure>) -> u16 {
        match result {
            Err(Failure::Refused(refusal)) => refusal.code().number,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    fn bytes_of(message: &Message) -> Vec<u8> {
        [message.header.as_bytes(), &message.payload].concat()
    }

    #[test]
    fn a_message_byte_by_byte_is_one_message() {
        let (mut connection, mut peer) = pair();
        let bytes = bytes_of(&Message::request(1, &[7; 8]));
        for (sent, byte) in bytes.iter().enumerate() {
            assert!(matches!(connection.receive(), Ok(Received::Nothing)), "after {sent} bytes");
            peer.write_all(&[*byte]).expect("sent");
        }
        let Ok(Received::Message(message)) = connection.receive() else {
            panic!("no message");
        };
        assert_eq!((message.header.request, message.payload), (1, vec![7; 8]));
        drop(peer);
        assert!(matches!(connection.receive(), Ok(Received::Closed)));
    }

    #[test]
    fn descriptors_stay_with_their_message() {
        let (mut connection, peer) = pair();
        let mut peer = Connection::new(peer, "test");
        let deadline = Instant::now() + Duration::from_secs(5);
        let eventfd =
            || rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).expect("eventfd");
        let with = Message::request(12, &[0; 8]).with_descriptors(vec![eventfd(), eventfd()]);
        peer.send_by(&with, deadline).expect("sent");
        peer.send_by(&Message::request(13, &[]), deadline).expect("sent");
        let Ok(Received::Message(first)) = connection.receive() else { panic!("no message") };
        let Ok(Received::Message(second)) = connection.receive() else { panic!("no message") };
        assert_eq!((first.descriptors.len(), second.descriptors.len()), (2, 0));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let (mut connection, mut peer) = pair();
        let mut bytes = bytes_of(&Message::request(1, &[]));
        bytes[4] = 2;
        peer.write_all(&bytes).expect("sent");
        assert_eq!(refused(connection.receive()), MALFORMED_MESSAGE.number);

        let (mut connection, mut peer) = pair();
        let mut bytes = bytes_of(&Message::request(1, &[]));
        bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        peer.write_all(&bytes).expect("sent");
        assert_eq!(refused(connection.receive()), MALFORMED_MESSAGE.number);

        let (mut connection, mut peer) = pair();
        peer.write_all(&bytes_of(&Message::request(1, &[1; 8]))[..15]).expect("sent");
        drop(peer);
        assert_eq!(refused(connection.receive()), MALFORMED_MESSAGE.number);
    }

    #[test]
    fn a_silent_peer_meets_the_deadline() {
        let (mut connection, _peer) = pair();
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(refused(connection.receive_by(deadline)), PEER_SILENT.number);
        let deadline = Instant::now() + Duration::from_millis(20);
        let message = Message::request(1, &[0; PAYLOAD_BYTES_MAX]);
        let refusal = loop {
            if let Err(failure) = connection.send_by(&message, deadline) {
                break failure;
            }
        };
        assert!(refusal.to_string().contains("RF0214"), "{refusal}");
    }
}
