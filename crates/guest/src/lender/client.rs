//! A client of vfio-user's that says what it is told to, as a VMM would.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// A request's numbers (`docs/interop/vfio-user.rst`, "Commands").
mod command {
    pub(super) const VERSION: u16 = 1;
    pub(super) const DMA_MAP: u16 = 2;
    pub(super) const DMA_UNMAP: u16 = 3;
    pub(super) const INFO: u16 = 4;
    pub(super) const REGION_INFO: u16 = 5;
    pub(super) const IRQ_INFO: u16 = 7;
    pub(super) const SET_IRQS: u16 = 8;
    pub(super) const READ: u16 = 9;
    pub(super) const WRITE: u16 = 10;
    pub(super) const RESET: u16 = 13;
}

const CONFIG: u32 = 7;
const HEADER_BYTES: usize = 16;

/// A connected client.
pub(crate) struct Client {
    socket: UnixStream,
    next: u16,
}

/// A region as the server describes it.
pub(crate) struct Region {
    pub(crate) size: u64,
    pub(crate) file_offset: u64,
    /// Bytes into the region, and how many.
    pub(crate) parts: Vec<(u64, u64)>,
    pub(crate) descriptor: Option<OwnedFd>,
}

struct Answer {
    body: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Client {
    /// Connects and agrees on a version.
    pub(crate) fn connect(path: &Path) -> Result<Self, String> {
        let socket = UnixStream::connect(path).map_err(told("connect"))?;
        let mut client = Self { socket, next: 1 };
        client.ask(command::VERSION, &[0; 4], &[])?;
        Ok(client)
    }

    /// The flags of the device.
    pub(crate) fn info(&mut self) -> Result<u32, String> {
        let answer = self.ask(command::INFO, &words(&[16, 0, 0, 0]), &[])?;
        word(&answer.body, 4)
    }

    /// How many interrupts of a kind there are.
    pub(crate) fn interrupts(&mut self, index: u32) -> Result<u32, String> {
        let answer = self.ask(command::IRQ_INFO, &words(&[16, 0, index, 0]), &[])?;
        word(&answer.body, 12)
    }

    pub(crate) fn region(&mut self, index: u32) -> Result<Region, String> {
        let asked = words(&[1056, 0, index, 0, 0, 0, 0, 0]);
        let Answer { body, descriptors } = self.ask(command::REGION_INFO, &asked, &[])?;
        let count = word(&body, 40).unwrap_or(0);
        let part = |number| Ok((long(&body, 48 + 16 * number)?, long(&body, 56 + 16 * number)?));
        let parts = (0..count as usize).map(part).collect::<Result<_, String>>()?;
        let (size, file_offset) = (long(&body, 16)?, long(&body, 24)?);
        Ok(Region { size, file_offset, parts, descriptor: descriptors.into_iter().next() })
    }

    pub(crate) fn config(&mut self, offset: u64, count: u32) -> Result<Vec<u8>, String> {
        self.read(CONFIG, offset, count)
    }

    pub(crate) fn set_config(&mut self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        self.write(CONFIG, offset, bytes)
    }

    pub(crate) fn read(&mut self, region: u32, at: u64, count: u32) -> Result<Vec<u8>, String> {
        let body = [at.to_ne_bytes().to_vec(), words(&[region, count])].concat();
        let answer = self.ask(command::READ, &body, &[])?;
        Ok(answer.body.get(16..).unwrap_or_default().to_vec())
    }

    pub(crate) fn write(&mut self, region: u32, at: u64, bytes: &[u8]) -> Result<(), String> {
        let count = u32::try_from(bytes.len()).map_err(told("count"))?;
        let body = [at.to_ne_bytes().to_vec(), words(&[region, count]), bytes.to_vec()].concat();
        self.ask(command::WRITE, &body, &[]).map(drop)
    }

    /// Maps memory of a file at bus addresses, to be read and written.
    pub(crate) fn map(
        &mut self,
        bus: u64,
        length: u64,
        file: &dyn AsFd,
        offset: u64,
    ) -> Result<(), String> {
        let numbers = [offset, bus, length].map(u64::to_ne_bytes).concat();
        let file = file.as_fd().try_clone_to_owned().map_err(told("duplicate"))?;
        self.ask(command::DMA_MAP, &[words(&[32, 3]), numbers].concat(), &[file]).map(drop)
    }

    pub(crate) fn unmap(&mut self, bus: u64, length: u64) -> Result<(), String> {
        let numbers = [bus, length].map(u64::to_ne_bytes).concat();
        self.ask(command::DMA_UNMAP, &[words(&[24, 0]), numbers].concat(), &[]).map(drop)
    }

    /// Has the first interrupt of a kind signal an eventfd, or none any more.
    pub(crate) fn connect_interrupt(
        &mut self,
        index: u32,
        to: Option<&File>,
    ) -> Result<(), String> {
        // `VFIO_IRQ_SET_ACTION_TRIGGER` with eventfds, or with nothing for none at all.
        let (flags, count) = if to.is_some() { (0x24, 1) } else { (0x21, 0) };
        let files: Result<Vec<OwnedFd>, _> =
            to.into_iter().map(|file| file.as_fd().try_clone_to_owned()).collect();
        let body = words(&[20, flags, index, 0, count]);
        self.ask(command::SET_IRQS, &body, &files.map_err(told("duplicate"))?).map(drop)
    }

    /// Lets a line that was signalled be signalled again.
    pub(crate) fn unmask(&mut self, index: u32) -> Result<(), String> {
        self.ask(command::SET_IRQS, &words(&[20, 0x11, index, 0, 1]), &[]).map(drop)
    }

    pub(crate) fn reset(&mut self) -> Result<(), String> {
        self.ask(command::RESET, &[], &[]).map(drop)
    }

    /// Asks and waits; what the server has against it is `errno N`.
    fn ask(&mut self, command: u16, body: &[u8], files: &[OwnedFd]) -> Result<Answer, String> {
        let id = self.next;
        self.next = id.wrapping_add(1);
        let size = u32::try_from(HEADER_BYTES + body.len()).map_err(told("count"))?;
        let head = words(&[u32::from(id) | u32::from(command) << 16, size, 0, 0]);
        let bytes = [head, body.to_vec()].concat();
        let rights: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !rights.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&rights)) {
            return Err("too many descriptors".to_owned());
        }
        let slices = [IoSlice::new(&bytes)];
        let sent = sendmsg(&self.socket, &slices, &mut control, SendFlags::NOSIGNAL)
            .map_err(told("send"))?;
        self.socket.write_all(&bytes[sent..]).map_err(told("send"))?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer, String> {
        let mut head = [0; HEADER_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut head)];
        let read = recvmsg(&self.socket, &mut slices, &mut control, RecvFlags::WAITALL)
            .map_err(told("receive"))?;
        if read.bytes != HEADER_BYTES {
            return Err("the server is gone".to_owned());
        }
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let length = (word(&head, 4)? as usize).saturating_sub(HEADER_BYTES);
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).map_err(told("receive"))?;
        match word(&head, 8)? & 0x20 {
            0 => Ok(Answer { body, descriptors }),
            _ => Err(format!("errno {}", word(&head, 12)?)),
        }
    }
}

fn told<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("cannot {what}: {error}")
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn word(bytes: &[u8], at: usize) -> Result<u32, String> {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map(u32::from_ne_bytes).ok_or_else(|| "a short answer".to_owned())
}

fn long(bytes: &[u8], at: usize) -> Result<u64, String> {
    let long = bytes.get(at..at + 8).and_then(|long| long.try_into().ok());
    long.map(u64::from_ne_bytes).ok_or_else(|| "a short answer".to_owned())
}
