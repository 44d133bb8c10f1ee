//! What a fuzzer runs: whole sessions of a client made of arbitrary bytes, on one thread.
//!
//! Whatever it says, the device is asked for nothing that it did not offer, every answer is to
//! something that was asked, nothing stays mapped and no descriptor stays open.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use ringfence_addr::{Iova, Span, SpanMap};
use ringfence_refusal::Failure;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use zerocopy::{FromBytes, IntoBytes};

use crate::wire::{HEADER_BYTES, Header, command};
use crate::{
    Device, DmaMapping, InterruptChange, InterruptIndex, Interrupts, Region, RegionIndex, Server,
    SetInterrupts, Stopper,
};

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[("vfio_user_server", server)];

/// Runs the target of this name, as fuzzers do.
///
/// # Panics
///
/// There is none, or it panics, which it must not.
pub fn run_target(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(each, _)| *each == name);
    found.unwrap_or_else(|| panic!("there is no target `{name}`")).1(bytes);
}

/// Messages of one session. All of it and its answers fit into a socket's buffers, so that nobody
/// waits although there is one thread.
const MESSAGES_MAX: u16 = 24;

/// Bytes of every region.
const SIZE: u64 = 1024;

/// Bytes without a header in front.
const RAW: u8 = 31;

/// The first byte says whether a version comes first. Then, over and over: a byte of a command (5
/// bits), how many descriptors come along (2) and whether an answer is wanted; a length; a body.
fn server(input: &[u8]) {
    let open_before = open_descriptors();
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let mut script = Script { rest: input, socket: theirs, asked: Vec::new(), is_framed: true };
    script.play();
    let mut device = Asked::default();
    let stop = Stopper::new().expect("a stopper");
    // That the client is refused for good is ordinary.
    let _ended = Server::serve_stream(ours, &mut device, &stop);
    assert!(device.mappings.is_empty(), "{:?} stays mapped", device.mappings);
    script.hear();
    drop((script, device, stop));
    assert_eq!(open_descriptors(), open_before, "descriptors stay open");
}

struct Script<'i> {
    rest: &'i [u8],
    socket: UnixStream,
    asked: Vec<(u16, u16)>,
    /// Whether it is known where messages begin.
    is_framed: bool,
}

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn play(&mut self) {
        if self.byte().unwrap_or(0) & 1 == 1 {
            self.ask(0, command::VERSION, true, &[0; 4], 0);
        }
        for id in 1..MESSAGES_MAX {
            let Some(kind) = self.byte() else { break };
            let length = usize::from(self.byte().unwrap_or(0)).min(self.rest.len());
            let (body, rest) = self.rest.split_at(length);
            self.rest = rest;
            match kind & 0x1f {
                RAW => {
                    self.is_framed = false;
                    self.send(body, usize::from(kind >> 5 & 3));
                }
                number => {
                    let wants_answer = kind & 0x80 == 0;
                    self.ask(id, number.into(), wants_answer, body, (kind >> 5 & 3).into());
                }
            }
        }
        self.socket.shutdown(Shutdown::Write).expect("it was open");
    }

    fn ask(&mut self, id: u16, command: u16, wants_answer: bool, body: &[u8], files: usize) {
        let size = u32::try_from(HEADER_BYTES + body.len()).expect("short");
        let header = Header::request(id, command).of_size(size);
        let header = if wants_answer { header } else { header.without_reply() };
        if wants_answer {
            self.asked.push((id, command));
        }
        self.send(&[header.as_bytes(), body].concat(), files);
    }

    fn send(&mut self, bytes: &[u8], count: usize) {
        let make = |_| eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        let files: Vec<OwnedFd> = (0..count).map(make).collect();
        let rights: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(rights.is_empty() || control.push(SendAncillaryMessage::ScmRights(&rights)));
        let slices = [IoSlice::new(bytes)];
        let sent = sendmsg(&self.socket, &slices, &mut control, SendFlags::NOSIGNAL);
        assert_eq!(sent, Ok(bytes.len()), "it fits");
    }

    /// Every answer is to something that was asked, in the same order.
    fn hear(&mut self) {
        let mut said = Vec::new();
        // Reset when there is something that the server did not read; what it said came before.
        let _reset = self.socket.read_to_end(&mut said);
        let mut rest = &said[..];
        let mut asked = self.asked.iter();
        while let Ok((header, _)) = Header::read_from_prefix(rest) {
            assert!(header.is_reply(), "{header:?} asks for something");
            let size = header.size as usize;
            assert!((HEADER_BYTES..=rest.len()).contains(&size), "{header:?} of {}", rest.len());
            assert!(!header.is_error() || size == HEADER_BYTES, "{header:?}");
            let is_known = asked.any(|asked| *asked == (header.id, header.command));
            assert!(is_known || !self.is_framed, "{header:?} answers nothing");
            rest = &rest[size..];
        }
        assert!(rest.is_empty(), "half an answer");
    }
}

/// A device that believes in its server.
#[derive(Default)]
struct Asked {
    mappings: SpanMap<Iova, Option<OwnedFd>>,
    is_connected: bool,
    interrupts: Option<Interrupts>,
}

impl Asked {
    fn interrupts(&mut self) -> &Interrupts {
        let counts = [(InterruptIndex::Intx, 1), (InterruptIndex::MsiX, 3)];
        self.interrupts.get_or_insert_with(|| Interrupts::new(&counts))
    }
}

impl Device for Asked {
    fn region(&self, index: RegionIndex) -> Region<'_> {
        match index {
            RegionIndex::Bar0 | RegionIndex::Config => Region::trapped(SIZE),
            RegionIndex::Rom => Region { is_writable: false, ..Region::trapped(SIZE) },
            _ => Region::ABSENT,
        }
    }

    fn interrupts(&self, index: InterruptIndex) -> u32 {
        match index {
            InterruptIndex::Intx => 1,
            InterruptIndex::MsiX => 3,
            _ => 0,
        }
    }

    fn read(&mut self, region: RegionIndex, offset: u64, data: &mut [u8]) -> Result<(), Failure> {
        let region = self.region(region);
        assert!(self.is_connected && region.is_readable && !data.is_empty());
        assert!(offset < SIZE && data.len() as u64 <= SIZE - offset, "{offset} {}", data.len());
        Ok(())
    }

    fn write(&mut self, region: RegionIndex, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let region = self.region(region);
        assert!(self.is_connected && region.is_writable && !data.is_empty());
        assert!(offset < SIZE && data.len() as u64 <= SIZE - offset, "{offset} {}", data.len());
        Ok(())
    }

    fn set_interrupts(&mut self, set: SetInterrupts) -> Result<(), Failure> {
        let count = Device::interrupts(self, set.index);
        assert!(self.is_connected && set.vectors.iter().all(|vector| *vector < count), "{set:?}");
        if let InterruptChange::Connect(eventfds) = &set.change {
            assert_eq!(eventfds.len(), set.vectors.len());
        }
        let interrupts = Asked::interrupts(self);
        interrupts.set(set)?;
        interrupts.set_level(true);
        interrupts.trigger(InterruptIndex::MsiX, 1);
        Ok(())
    }

    fn dma_map(&mut self, mapping: DmaMapping) -> Result<(), Failure> {
        assert!(self.is_connected && !mapping.rights.is_empty());
        let memory = mapping.memory.map(|memory| memory.descriptor);
        self.mappings.try_insert(mapping.span, memory).expect("nothing is there");
        Ok(())
    }

    fn dma_unmap(&mut self, span: Span<Iova>) -> Result<(), Failure> {
        self.mappings.remove_exact(span).expect("exactly what was mapped");
        Ok(())
    }

    fn connected(&mut self, _client: crate::Client) {
        assert!(!std::mem::replace(&mut self.is_connected, true), "it connects twice");
    }

    fn disconnected(&mut self) {
        assert!(std::mem::replace(&mut self.is_connected, false), "nobody was there");
        self.interrupts = None;
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
