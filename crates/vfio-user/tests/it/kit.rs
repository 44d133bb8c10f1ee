//! A client that says whatever a test wants.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use ringfence_refusal::Failure;
use ringfence_vfio_user::{Interrupts, Server, Stopper};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::devices::{Seen, Toy};

/// A request's numbers (`docs/interop/vfio-user.rst`, "Commands").
pub(crate) mod command {
    pub(crate) const VERSION: u16 = 1;
    pub(crate) const DMA_MAP: u16 = 2;
    pub(crate) const DMA_UNMAP: u16 = 3;
    pub(crate) const INFO: u16 = 4;
    pub(crate) const REGION_INFO: u16 = 5;
    pub(crate) const IRQ_INFO: u16 = 7;
    pub(crate) const SET_IRQS: u16 = 8;
    pub(crate) const READ: u16 = 9;
    pub(crate) const WRITE: u16 = 10;
    pub(crate) const DMA_READ: u16 = 11;
    pub(crate) const DMA_WRITE: u16 = 12;
    pub(crate) const RESET: u16 = 13;
    pub(crate) const WRITE_MULTI: u16 = 15;
}

pub(crate) const REPLY: u32 = 1;
pub(crate) const NO_REPLY: u32 = 0x10;

/// A device that is served in a thread, and the client's end.
pub(crate) struct Served {
    pub(crate) socket: UnixStream,
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) interrupts: Interrupts,
    pub(crate) stop: Stopper,
    thread: JoinHandle<Result<(), Failure>>,
    next: u16,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: u16,
    pub(crate) command: u16,
    pub(crate) flags: u32,
    pub(crate) error: u32,
    pub(crate) body: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub(crate) fn header(id: u16, command: u16, size: u32, flags: u32) -> Vec<u8> {
    let word = u32::from(id) | u32::from(command) << 16;
    words(&[word, size, flags, 0])
}

impl Served {
    /// A client that has not said anything yet.
    pub(crate) fn silent() -> Self {
        let (ours, socket) = UnixStream::pair().expect("a socket pair");
        let mut toy = Toy::new();
        let (seen, interrupts) = (Arc::clone(&toy.seen), toy.interrupts.clone());
        let stop = Stopper::new().expect("a stopper");
        let theirs = stop.clone();
        let thread = std::thread::spawn(move || Server::serve_stream(ours, &mut toy, &theirs));
        Self { socket, seen, interrupts, stop, thread, next: 1 }
    }

    /// One that has agreed on a version.
    pub(crate) fn new() -> Self {
        let mut served = Self::silent();
        let answer = served.ask(command::VERSION, &[0; 4], &[]).expect("agreed");
        assert_eq!(&answer.body[..4], [0; 4]);
        served
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("seen")
    }

    pub(crate) fn send(&mut self, command: u16, flags: u32, body: &[u8], files: &[OwnedFd]) -> u16 {
        let id = self.next;
        self.next = id.wrapping_add(1);
        let size = u32::try_from(16 + body.len()).expect("short");
        self.send_raw(&[header(id, command, size, flags), body.to_vec()].concat(), files);
        id
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8], files: &[OwnedFd]) {
        let rights: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(rights.is_empty() || control.push(SendAncillaryMessage::ScmRights(&rights)));
        let sent = sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
        if let Ok(sent) = sent {
            // The server may have gone by now: that is for the test to find.
            let _rest = self.socket.write_all(&bytes[sent..]);
        }
    }

    pub(crate) fn receive(&mut self) -> Option<Message> {
        let mut head = [0; 16];
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut head)];
        let read = recvmsg(&self.socket, &mut slices, &mut control, RecvFlags::WAITALL).ok()?;
        if read.bytes == 0 {
            return None;
        }
        assert_eq!(read.bytes, 16, "QEMU wants a header in one piece");
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let half = |at: usize| u16::from_ne_bytes(head[at..at + 2].try_into().expect("2 bytes"));
        let mut body = vec![0; word(4) as usize - 16];
        self.socket.read_exact(&mut body).expect("the rest of the message");
        Some(Message {
            id: half(0),
            command: half(2),
            flags: word(8),
            error: word(12),
            body,
            descriptors,
        })
    }

    /// Asks and waits; the error's number if the answer is one.
    pub(crate) fn ask(
        &mut self,
        command: u16,
        body: &[u8],
        files: &[OwnedFd],
    ) -> Result<Message, u32> {
        let id = self.send(command, 0, body, files);
        let answer = self.receive().expect("an answer");
        assert_eq!((answer.id, answer.command), (id, command));
        match answer.flags {
            0x1 => Ok(answer),
            0x21 => {
                assert!(answer.body.is_empty(), "an error is a header only");
                Err(answer.error)
            }
            flags => panic!("an answer with flags {flags:#x}"),
        }
    }

    /// Closes the socket, and what the server says to that.
    pub(crate) fn close(self) -> Result<(), Failure> {
        drop(self.socket);
        self.thread.join().expect("the server does not panic")
    }

    /// Waits for the server to end the connection, and the code for which it did.
    pub(crate) fn ended(mut self) -> String {
        while self.receive().is_some() {}
        let failure = self.close().expect_err("refused");
        failure.to_string().chars().take(6).collect()
    }

    /// That one more thing was refused for this code.
    pub(crate) fn refused(&self, code: &str) {
        let last = self.seen().refused.last().cloned().unwrap_or_default();
        assert!(last.starts_with(code), "{last:?} is not {code}");
    }

    pub(crate) fn thread_ends(self) -> Result<(), Failure> {
        self.thread.join().expect("the server does not panic")
    }
}
