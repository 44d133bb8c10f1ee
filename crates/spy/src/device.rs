//! The honest side of it: a vhost-user random-number device.
//!
//! Small and trusting, as such backends are. It reaches guest memory through the files it is
//! handed, by reading and writing them.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ringfence_virtio::connection::{Connection, Received};
use ringfence_virtio::features::PROTOCOL_FEATURES;
use ringfence_virtio::wire::{MemoryRegion, MemoryTable, Message, VringAddress, VringState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{pread, pwrite, write};
use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures};

/// `VIRTIO_F_VERSION_1`.
const VERSION_1: u64 = 1 << 32;

/// The most it gives at once.
const RANDOM_MAX: usize = 4096;

/// A region of memory it was handed.
pub(crate) struct Region {
    pub(crate) claim: MemoryRegion,
    pub(crate) file: OwnedFd,
}

#[derive(Default)]
struct Queue {
    size: u16,
    next: u16,
    addresses: Option<VringAddress>,
    kick: Option<OwnedFd>,
    call: Option<OwnedFd>,
}

/// The device, connected.
pub(crate) struct Device {
    connection: Connection,
    regions: Vec<Region>,
    queue: Queue,
    random: Option<File>,
}

impl Device {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, regions: Vec::new(), queue: Queue::default(), random: None }
    }

    pub(crate) fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Serves until the deadline; false when the VMM is gone.
    pub(crate) fn serve(&mut self, deadline: Instant) -> Result<bool> {
        while Instant::now() < deadline {
            self.wait(deadline)?;
            loop {
                match self.connection.receive() {
                    Ok(Received::Message(message)) => self.handle(message)?,
                    Ok(Received::Nothing) => break,
                    Ok(Received::Closed) => return Ok(false),
                    Err(failure) => bail!("{failure}"),
                }
            }
            self.give_random()?;
        }
        Ok(true)
    }

    fn wait(&self, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left.min(Duration::from_millis(100));
        let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        let mut set = vec![PollFd::new(&self.connection, PollFlags::IN)];
        set.extend(self.queue.kick.as_ref().map(|kick| PollFd::new(kick, PollFlags::IN)));
        let ready = poll(&mut set, Some(&timeout))?;
        if ready > 0
            && set.get(1).is_some_and(|kick| !kick.revents().is_empty())
            && let Some(kick) = &self.queue.kick
        {
            let _ = rustix::io::read(kick, &mut [0; 8]);
        }
        Ok(())
    }

    fn handle(&mut self, mut message: Message) -> Result<()> {
        let request = message.header.request;
        let number = |number: u64| Some(number.to_le_bytes().to_vec());
        let mut descriptors = std::mem::take(&mut message.descriptors);
        let mut answer = None;
        match FrontendReq::try_from(request) {
            Ok(FrontendReq::GET_FEATURES) => answer = number(VERSION_1 | PROTOCOL_FEATURES),
            Ok(FrontendReq::GET_PROTOCOL_FEATURES) => {
                answer = number(VhostUserProtocolFeatures::REPLY_ACK.bits());
            }
            Ok(FrontendReq::GET_QUEUE_NUM) => answer = number(1),
            Ok(FrontendReq::SET_MEM_TABLE) => self.take_memory(&message, descriptors)?,
            Ok(FrontendReq::SET_VRING_NUM) => {
                let state: VringState = message.body().context("SET_VRING_NUM")?;
                self.queue.size = u16::try_from(state.number)?;
            }
            Ok(FrontendReq::SET_VRING_BASE) => {
                let state: VringState = message.body().context("SET_VRING_BASE")?;
                self.queue.next = u16::try_from(state.number)?;
            }
            Ok(FrontendReq::GET_VRING_BASE) => {
                let next = u32::from(self.queue.next).to_le_bytes();
                answer = Some([[0; 4], next].concat());
                self.queue = Queue::default();
            }
            Ok(FrontendReq::SET_VRING_ADDR) => self.queue.addresses = message.body(),
            Ok(FrontendReq::SET_VRING_KICK) => self.queue.kick = descriptors.pop(),
            Ok(FrontendReq::SET_VRING_CALL) => self.queue.call = descriptors.pop(),
            _ => {}
        }
        if answer.is_none() && message.header.needs_reply() {
            answer = number(0);
        }
        if let Some(payload) = answer {
            let deadline = Instant::now() + Duration::from_secs(5);
            let reply = Message::reply(request, &payload);
            self.connection
                .send_by(&reply, deadline)
                .map_err(|failure| anyhow::anyhow!("cannot answer: {failure}"))?;
        }
        Ok(())
    }

    fn take_memory(&mut self, message: &Message, files: Vec<OwnedFd>) -> Result<()> {
        let (table, regions) = message.body_with_tail::<MemoryTable>().context("SET_MEM_TABLE")?;
        let claims = regions.chunks_exact(size_of::<MemoryRegion>());
        self.regions.clear();
        for (bytes, file) in claims.zip(files).take(table.regions as usize) {
            let [guest_address, size, user_address, mmap_offset] = words(bytes);
            let claim = MemoryRegion { guest_address, size, user_address, mmap_offset };
            self.regions.push(Region { claim, file });
        }
        Ok(())
    }

    /// Fills the buffers the guest has published.
    fn give_random(&mut self) -> Result<()> {
        let (Some(ring), size @ 1..) = (self.queue.addresses, self.queue.size) else {
            return Ok(());
        };
        let mut gave = false;
        while self.queue.next != self.read_u16(Place::User(ring.available + 2))? {
            let slot = u64::from(self.queue.next % size);
            let head = self.read_u16(Place::User(ring.available + 4 + slot * 2))?;
            let mut entry = [0; 16];
            self.read(Place::User(ring.descriptors + u64::from(head) * 16), &mut entry)?;
            let [address, rest] = words(&entry);
            let length = usize::try_from(rest & 0xffff_ffff)?.min(RANDOM_MAX);
            let mut bytes = vec![0; length];
            self.random()?.read_exact(&mut bytes)?;
            self.write(Place::Guest(address), &bytes)?;
            let used = u64::from(head) | (length as u64) << 32;
            self.write(Place::User(ring.used + 4 + slot * 8), &used.to_le_bytes())?;
            self.queue.next = self.queue.next.wrapping_add(1);
            self.write(Place::User(ring.used + 2), &self.queue.next.to_le_bytes())?;
            gave = true;
        }
        if let Some(call) = self.queue.call.as_ref().filter(|_| gave) {
            let _ = write(call, &1u64.to_ne_bytes());
        }
        Ok(())
    }

    fn random(&mut self) -> Result<&mut File> {
        if self.random.is_none() {
            self.random = Some(File::open("/dev/urandom")?);
        }
        self.random.as_mut().context("just opened")
    }

    fn read_u16(&self, place: Place) -> Result<u16> {
        let mut bytes = [0; 2];
        self.read(place, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn read(&self, place: Place, into: &mut [u8]) -> Result<()> {
        let (file, offset) = self.find(place)?;
        let length = pread(file, &mut *into, offset)?;
        anyhow::ensure!(length == into.len(), "memory ends at {offset:#x}");
        Ok(())
    }

    fn write(&self, place: Place, bytes: &[u8]) -> Result<()> {
        let (file, offset) = self.find(place)?;
        pwrite(file, bytes, offset)?;
        Ok(())
    }

    fn find(&self, place: Place) -> Result<(&OwnedFd, u64)> {
        let found = self.regions.iter().find_map(|Region { claim, file }| {
            let offset = match place {
                Place::User(address) => address.checked_sub(claim.user_address)?,
                Place::Guest(address) => address.checked_sub(claim.guest_address)?,
            };
            (offset < claim.size).then_some((file, offset + claim.mmap_offset))
        });
        found.with_context(|| format!("{place:x?} is in no region"))
    }
}

/// An address as the VMM or as the guest has it.
#[derive(Clone, Copy, Debug)]
enum Place {
    User(u64),
    Guest(u64),
}

/// Bytes as little-endian words.
fn words<const COUNT: usize>(bytes: &[u8]) -> [u64; COUNT] {
    std::array::from_fn(|index| {
        let word = bytes.get(index * 8..index * 8 + 8).and_then(|word| word.try_into().ok());
        u64::from_le_bytes(word.unwrap_or_default())
    })
}
