//! One client's socket: whole messages in and out, bounded in size, and never a wait that a
//! [`Stopper`](crate::Stopper) does not end.
//!
//! Reading takes nothing beyond the message in hand, so descriptors stay with the message that they
//! came with.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::refusals::{NO_MESSAGE, WRONG_DESCRIPTORS};
use crate::server::Stopper;
use crate::wire::{DESCRIPTORS_MAX, HEADER_BYTES, Header};

/// The most descriptors that Linux lets through in one message (`SCM_MAX_FD`): there is room for all
/// of them, so that too many are seen and closed.
const SYSTEM_DESCRIPTORS_MAX: usize = 253;

/// A connected client.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: UnixStream,
    stop: Stopper,
    /// Messages of several threads do not mix.
    sending: Mutex<()>,
}

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Received {
    Message(Message),
    /// The client has closed its end.
    Closed,
    /// The server is to stop.
    Stopped,
}

enum Filled {
    All,
    End,
    Stopped,
}

impl Connection {
    pub(crate) fn new(socket: UnixStream, stop: Stopper) -> Self {
        Self { socket, stop, sending: Mutex::new(()) }
    }

    /// Waits for a whole message. `body` is room that was used before.
    ///
    /// # Errors
    ///
    /// `RF1001` and `RF1002`; the connection is of no use after that. A fault when the socket fails.
    pub(crate) fn receive(&self, mut body: Vec<u8>) -> Result<Received, Failure> {
        let mut descriptors = Vec::new();
        let mut bytes = [0; HEADER_BYTES];
        match self.fill(&mut bytes, 0, &mut descriptors)? {
            Filled::All => {}
            Filled::End => return Ok(Received::Closed),
            Filled::Stopped => return Ok(Received::Stopped),
        }
        let header = Header::read_from_bytes(&bytes).expect("as many bytes as a header has");
        let length = body_length(header)?;
        // No more is made room for than the longest message of this kind has.
        body.clear();
        body.resize(length, 0);
        match self.fill(&mut body, HEADER_BYTES, &mut descriptors)? {
            Filled::All => Ok(Received::Message(Message { header, body, descriptors })),
            Filled::End => unreachable!("an end within a message is a refusal"),
            Filled::Stopped => Ok(Received::Stopped),
        }
    }

    /// Reads until `bytes` is full, taking descriptors along. `before` is how many bytes of the
    /// message are there already.
    fn fill(
        &self,
        bytes: &mut [u8],
        before: usize,
        descriptors: &mut Vec<OwnedFd>,
    ) -> Result<Filled, Failure> {
        let mut have = 0;
        while have < bytes.len() {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SYSTEM_DESCRIPTORS_MAX))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let result = recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(&mut bytes[have..])],
                &mut control,
                RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
            );
            let message = match result {
                Ok(message) => message,
                Err(Errno::AGAIN) => match self.wait_for(PollFlags::IN)? {
                    true => continue,
                    false => return Ok(Filled::Stopped),
                },
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => return self.ended(before + have),
                Err(errno) => return Err(Fault::new("read from", "a client", errno).into()),
            };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            if message.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > DESCRIPTORS_MAX {
                // Cut short, too, when this process may have no more.
                let detail = format!("more than {DESCRIPTORS_MAX} at once, or than can be taken");
                return Err(Refusal::new(&WRONG_DESCRIPTORS, detail).into());
            }
            if message.bytes == 0 {
                return self.ended(before + have);
            }
            have += message.bytes;
        }
        Ok(Filled::All)
    }

    fn ended(&self, have: usize) -> Result<Filled, Failure> {
        match have {
            0 => Ok(Filled::End),
            _ => Err(Refusal::new(&NO_MESSAGE, format!("it ends after {have} bytes")).into()),
        }
    }

    /// Sends a message: `bytes` begins with room for the header. False when the server is to stop.
    ///
    /// # Errors
    ///
    /// A fault when the client is gone.
    pub(crate) fn send(
        &self,
        header: Header,
        bytes: &mut [u8],
        descriptor: Option<&OwnedFd>,
    ) -> Result<bool, Fault> {
        let size = u32::try_from(bytes.len()).expect("a message of ours is short");
        bytes[..HEADER_BYTES].copy_from_slice(header.of_size(size).as_bytes());
        let _turn = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sent = 0;
        while sent < bytes.len() {
            let rights: Vec<_> = descriptor.into_iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            // A descriptor goes with the first byte, and only once.
            if sent == 0 && !rights.is_empty() {
                let fits = control.push(SendAncillaryMessage::ScmRights(&rights));
                assert!(fits, "there is room for one descriptor");
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.socket, &[IoSlice::new(&bytes[sent..])], &mut control, flags) {
                Ok(count) => sent += count,
                Err(Errno::AGAIN) => {
                    if !self.wait_for(PollFlags::OUT)? {
                        return Ok(false);
                    }
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Fault::new("send to", "a client", errno)),
            }
        }
        Ok(true)
    }

    /// Ends the connection, whoever still has it.
    pub(crate) fn close(&self) {
        // It fails when the client has closed it.
        let _closed = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Waits until the socket is ready; false when the server is to stop.
    fn wait_for(&self, what: PollFlags) -> Result<bool, Fault> {
        self.stop.wait_for(&self.socket, what)
    }
}

/// Bytes of a message after its header.
fn body_length(header: Header) -> Result<usize, Refusal> {
    let refuse = |what: &str| {
        let detail = format!("{header:?}: {what}");
        Err(Refusal::new(&NO_MESSAGE, detail))
    };
    if !header.is_request() && !header.is_reply() {
        return refuse("neither a request nor a reply");
    }
    match (header.size as usize).checked_sub(HEADER_BYTES) {
        None => refuse("shorter than its header"),
        Some(length) if length > header.body_bytes_max() => {
            refuse(&format!("longer than {}", HEADER_BYTES + header.body_bytes_max()))
        }
        Some(length) => Ok(length),
    }
}

impl Stopper {
    /// Waits until `descriptor` is ready; false when to stop.
    pub(crate) fn wait_for(&self, descriptor: impl AsFd, what: PollFlags) -> Result<bool, Fault> {
        loop {
            let mut set =
                [PollFd::new(self.eventfd(), PollFlags::IN), PollFd::new(&descriptor, what)];
            match poll(&mut set, None) {
                Ok(_) if !set[0].revents().is_empty() => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Fault::new("wait for", "a client", errno)),
            }
        }
    }
}
