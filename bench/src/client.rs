//! A vhost-user-blk client without a guest.
//!
//! `virtio-driver` is the driver inside libblkio: it connects to the socket as a VMM would and
//! plays the guest as well. Requests are submitted and reaped in batches, one kick per batch, and
//! the client sleeps on the completion eventfd: nobody spins, as in fio with
//! `--libblkio_wait_mode=block`.
//!
//! The driver takes slices and tells the device their addresses. The slices here belong to
//! [`Buffers`]: address space standing for shared memory that only the device side maps, so
//! nothing in this process aliases what a device writes, and no `unsafe` is needed to hand it out.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use virtio_driver::{
    EventFd, QueueNotifier, VhostUser, VirtioBlkConfig, VirtioBlkFeatureFlags, VirtioBlkQueue,
    VirtioBlkReqBuf, VirtioFeatureFlags, VirtioTransport,
};

use crate::case::{Direction, Load, Order};

const PAGE: usize = 4096;
const QUEUE_SIZE: u16 = 256;
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// What one run of a load came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Requests completed between the two samples.
    pub(crate) requests: u64,
    /// The time between the two samples.
    pub(crate) elapsed: Duration,
    /// What the watched process spent between the two samples.
    pub(crate) processor_time: Option<Duration>,
}

impl Outcome {
    /// Requests per second.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// What one request cost the watched process.
    #[expect(clippy::cast_precision_loss, reason = "a cost for people to read")]
    pub(crate) fn processor_microseconds_per_request(&self) -> Option<f64> {
        Some(self.processor_time?.as_secs_f64() * 1e6 / self.requests as f64)
    }
}

/// Memory the device reaches: a memfd, and as many addresses as it has bytes.
struct Buffers {
    memory: File,
    addresses: Vec<u8>,
    first: usize,
    length: usize,
}

impl Buffers {
    fn new(length: usize) -> Result<Self> {
        let length = length.next_multiple_of(PAGE);
        let memory: File = rustix::fs::memfd_create("bench-buffers", MemfdFlags::CLOEXEC)
            .context("cannot make shared memory for the requests")?
            .into();
        // Written once so that no round pays for the first touch of a page.
        let page = [0x5a; PAGE];
        for at in (0..length).step_by(PAGE) {
            memory.write_all_at(&page, at as u64).context("cannot fill the request buffers")?;
        }
        // Zeroed and never touched, so it takes addresses and no memory.
        let addresses = vec![0; length + PAGE];
        let first = addresses.as_ptr().align_offset(PAGE);
        Ok(Self { memory, addresses, first, length })
    }

    fn slice(&mut self, at: usize, length: usize) -> &mut [u8] {
        &mut self.addresses[self.first..][..self.length][at..][..length]
    }
}

/// One connection with one queue, and the memory its requests use.
pub(crate) struct Client {
    // Before the transport: the queue's rings are memory the transport unmaps when dropped.
    queue: VirtioBlkQueue<'static, usize>,
    notifier: Box<dyn QueueNotifier>,
    completion: Arc<EventFd>,
    transport: Box<VhostUser<VirtioBlkConfig, VirtioBlkReqBuf>>,
    buffers: Buffers,
}

impl Client {
    /// Connects to `socket` and maps `buffer_bytes` for requests.
    pub(crate) fn connect(socket: &Path, buffer_bytes: usize) -> Result<Self> {
        let path = socket.to_str().context("the socket's path is not UTF-8")?;
        let features = VirtioFeatureFlags::VERSION_1.bits()
            | VirtioFeatureFlags::RING_EVENT_IDX.bits()
            | VirtioBlkFeatureFlags::FLUSH.bits()
            | VirtioBlkFeatureFlags::MQ.bits();
        let mut transport =
            Box::new(VhostUser::<VirtioBlkConfig, VirtioBlkReqBuf>::new(path, features)?);
        ensure!(
            transport.get_features() & VirtioFeatureFlags::VERSION_1.bits() != 0,
            "the device does not offer VIRTIO_F_VERSION_1"
        );
        let queue = VirtioBlkQueue::setup_queues(&mut *transport, 1, QUEUE_SIZE)?
            .pop()
            .context("the driver set up no queue")?;
        let mut buffers = Buffers::new(buffer_bytes)?;
        let length = buffers.length;
        let first = buffers.slice(0, length).as_ptr() as usize;
        transport.map_mem_region(first, length, buffers.memory.as_raw_fd(), 0)?;
        let notifier = transport.get_submission_notifier(0);
        let completion = transport.get_completion_fd(0);
        Ok(Self { queue, notifier, completion, transport, buffers })
    }

    /// The device's size in bytes.
    pub(crate) fn capacity(&self) -> Result<u64> {
        let sectors: u64 = self.transport.get_config()?.capacity.into();
        sectors.checked_mul(512).context("the device's capacity does not fit 64 bits")
    }

    /// Keeps `load.depth` requests in flight and counts completions after the warm-up.
    ///
    /// `sample` is read at both ends of the measured time.
    pub(crate) fn run(
        &mut self,
        load: &Load,
        sample: &dyn Fn() -> Option<Duration>,
    ) -> Result<Outcome> {
        let mut offsets = Offsets::new(load, self.capacity()?)?;
        for slot in 0..load.depth {
            self.submit(load.direction, offsets.next(), slot, load.block)?;
        }
        self.kick()?;

        self.turn_until(load, &mut offsets, Instant::now() + load.warm_up)?;
        let (processor_before, begin) = (sample(), Instant::now());
        let requests = self.turn_until(load, &mut offsets, begin + load.measured)?;
        let (elapsed, processor_after) = (begin.elapsed(), sample());

        let mut left = load.depth;
        while left > 0 {
            self.wait()?;
            while let Some(done) = self.reap() {
                done?;
                left -= 1;
            }
        }
        let processor_time =
            processor_after.zip(processor_before).map(|(after, before)| after - before);
        Ok(Outcome { requests, elapsed, processor_time })
    }

    /// Resubmits what completes until `end`; returns how many completed.
    fn turn_until(&mut self, load: &Load, offsets: &mut Offsets, end: Instant) -> Result<u64> {
        let mut completed = 0;
        while Instant::now() < end {
            self.wait()?;
            while let Some(slot) = self.reap() {
                self.submit(load.direction, offsets.next(), slot?, load.block)?;
                completed += 1;
            }
            self.kick()?;
        }
        Ok(completed)
    }

    /// Writes `data` at `offset` and waits for it.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.buffers.memory.write_all_at(data, 0)?;
        self.submit(Direction::Write, offset, 0, data.len())?;
        self.finish_one()
    }

    /// Reads `length` bytes at `offset` into memory cleared before.
    pub(crate) fn read(&mut self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut data = vec![0; length];
        self.buffers.memory.write_all_at(&data, 0)?;
        self.submit(Direction::Read, offset, 0, length)?;
        self.finish_one()?;
        self.buffers.memory.read_exact_at(&mut data, 0)?;
        Ok(data)
    }

    fn finish_one(&mut self) -> Result<()> {
        self.kick()?;
        self.wait()?;
        self.reap().context("woken without a completion")?.map(|_| ())
    }

    fn submit(
        &mut self,
        direction: Direction,
        offset: u64,
        slot: usize,
        length: usize,
    ) -> Result<()> {
        let buffer = self.buffers.slice(slot * length, length);
        match direction {
            Direction::Read => self.queue.read(offset, buffer, slot)?,
            Direction::Write => self.queue.write(offset, buffer, slot)?,
        }
        Ok(())
    }

    fn kick(&mut self) -> Result<()> {
        if self.queue.avail_notif_needed() {
            self.notifier.notify().context("cannot kick the queue")?;
        }
        Ok(())
    }

    /// Returns when there is a completion. Notifications are on only while it sleeps.
    fn wait(&mut self) -> Result<()> {
        if self.queue.completions().has_next() {
            return Ok(());
        }
        self.queue.set_used_notif_enabled(true);
        while !self.queue.completions().has_next() {
            self.sleep()?;
        }
        self.queue.set_used_notif_enabled(false);
        Ok(())
    }

    /// Sleeps until the backend signals the completion eventfd, and clears it.
    ///
    /// Reading alone does not do: qemu-storage-daemon makes every descriptor it is handed
    /// non-blocking, and that reaches our end of it as well.
    fn sleep(&self) -> Result<()> {
        let mut descriptors = [PollFd::new(&*self.completion, PollFlags::IN)];
        match poll(&mut descriptors, Some(&PATIENCE)) {
            Ok(0) => bail!("no completion in {} s", PATIENCE.tv_sec),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error).context("cannot wait for a completion"),
        }
        match self.completion.read() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("cannot clear the completion eventfd"),
        }
    }

    /// The slot of one completed request, if there is one.
    fn reap(&mut self) -> Option<Result<usize>> {
        let completion = self.queue.completions().next()?;
        Some(if completion.ret == 0 {
            Ok(completion.context)
        } else {
            Err(io::Error::from_raw_os_error(-completion.ret))
                .context("the device failed a request")
        })
    }
}

/// The offsets a load asks for, the same in every run.
struct Offsets {
    order: Order,
    block: u64,
    blocks: u64,
    state: u64,
}

impl Offsets {
    fn new(load: &Load, capacity: u64) -> Result<Self> {
        let block = load.block as u64;
        let blocks = capacity / block;
        if blocks == 0 {
            bail!("the device has {capacity} bytes, less than one request of {block}");
        }
        let state = match load.order {
            Order::Random => 0x9e37_79b9_7f4a_7c15,
            Order::Sequential => 0,
        };
        Ok(Self { order: load.order, block, blocks, state })
    }

    fn next(&mut self) -> u64 {
        let number = match self.order {
            Order::Sequential => {
                let number = self.state;
                self.state = (number + 1) % self.blocks;
                number
            }
            Order::Random => {
                // xorshift64
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                self.state % self.blocks
            }
        };
        number * self.block
    }
}
