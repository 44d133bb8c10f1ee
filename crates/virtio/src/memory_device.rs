//! Memory that a guest plugs and unplugs in blocks while devices are attached (virtio-mem).
//!
//! Virtio 1.2, section 5.15. A region of guest-physical addresses belongs to the device; the host asks for
//! so much of it to be in use, the guest plugs blocks and gives blocks back. A block that is not plugged is
//! the host's: the gate ([`crate::GiveBack`]) has taken it back, nothing maps it, and its memory was
//! discarded. Unplugging waits for those who have the block mapped; plugging makes it the guest's, and
//! mapped for whoever it was taken from, before the guest hears that it is.
//!
//! A device behind vfio-user cannot add memory to a machine. The region is memory that the VMM shows at
//! addresses which no firmware table calls memory, so that nobody uses it without this device: the file
//! of an `ivshmem-plain` device's BAR. Where that is, firmware and the guest's kernel decide; the device
//! finds it among what the VMM lends, by the identity of the file.
//!
//! ```text
//! -object memory-backend-memfd,id=plug,size=2G,share=on -device ivshmem-plain,memdev=plug
//! ```
//!
//! Below 4 GiB firmware tells processors not to cache what it gives to BARs, so a region there is not
//! offered; one of 2 GiB or more does not fit there.

mod blocks;
mod wire;

use std::num::NonZeroU64;
use std::os::fd::BorrowedFd;

use ringfence_addr::{Alignment, Gpa, Span, SpanSet};
use ringfence_refusal::{Failure, Fault, Refusal};
use virtio_bindings::virtio_ids::VIRTIO_ID_MEM;

use crate::backing::Backing;
use crate::give_back::{Block, GiveBack, Verdict};
use crate::pci::{Answer, Function, Request, VirtioDevice};
use crate::refusals::{BAD_DEVICE_REQUEST, NO_REGION};
use crate::window::identity;

use blocks::Blocks;
use wire::{Asked, Config, REQUEST_BYTES, Response};

/// `VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE`: the guest does not touch what is not plugged.
const UNPLUGGED_INACCESSIBLE: u64 = 1 << 1;

/// Regions begin here at the earliest.
const LOWEST: Gpa = Gpa::new(1 << 32);

/// How a memory device stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStatus {
    /// Where the guest finds the region, if the VMM shows it.
    pub region: Option<Span<Gpa>>,
    /// What the host asks for.
    pub requested_bytes: u64,
    /// What is in use.
    pub plugged_bytes: u64,
    /// What the file takes of the host's memory.
    pub resident_bytes: u64,
    /// Bytes discarded so far.
    pub discarded_bytes: u64,
    /// How often discarding failed.
    pub discards_failed: u64,
    /// How often the guest was told to try again later, because somebody has more than a block mapped.
    pub busy: u64,
    /// Why the region is not offered, if it is not.
    pub refusal: Option<Refusal>,
}

/// Memory in blocks, behind the gate `G`.
pub struct MemoryDevice<G> {
    gate: G,
    backing: Backing,
    /// The file of the region.
    file: (u64, u64),
    region: Option<Span<Gpa>>,
    blocks: Blocks,
    requested: u64,
    /// Where the region will be when those who have it mapped have let go.
    coming: Option<Span<Gpa>>,
    /// What the gate was asked for, and waits for.
    asked: SpanSet<Gpa>,
    /// What went since the guest asked, who is to hear of it.
    gone: SpanSet<Gpa>,
    busy: u64,
    refusal: Option<Refusal>,
}

impl<G: GiveBack> MemoryDevice<G> {
    /// A device for a region of whole blocks in `file`, of which nothing is plugged.
    ///
    /// # Errors
    ///
    /// `RF0224` when the region is not whole blocks, or there are too many of them; the system's when it
    /// knows nothing of the file.
    pub fn new(
        gate: G,
        file: BorrowedFd<'_>,
        bytes: u64,
        block: Alignment,
    ) -> Result<Self, Failure> {
        let file =
            identity(file).map_err(|errno| Fault::new("look at", "memory to plug", errno))?;
        Ok(Self {
            gate,
            backing: Backing::default(),
            file,
            region: None,
            blocks: Blocks::new(bytes, block)?,
            requested: 0,
            coming: None,
            asked: SpanSet::new(),
            gone: SpanSet::new(),
            busy: 0,
            refusal: None,
        })
    }

    /// Asks the guest to have so many bytes in use, in whole blocks, at most all of them.
    pub fn set_requested(&mut self, bytes: u64) {
        let bytes = bytes.min(self.blocks.bytes());
        self.requested = bytes & !self.blocks.block().mask();
    }

    /// How it stands.
    pub fn status(&self) -> MemoryStatus {
        MemoryStatus {
            region: self.region,
            requested_bytes: self.requested,
            plugged_bytes: self.blocks.plugged_bytes(),
            resident_bytes: self.backing.resident_bytes(),
            discarded_bytes: self.backing.discarded_bytes,
            discards_failed: self.backing.failures,
            busy: self.busy,
            refusal: self.refusal.clone(),
        }
    }

    /// The gate.
    pub fn gate(&mut self) -> &mut G {
        &mut self.gate
    }

    /// The account takes all of a region back that was shown just now: nothing of it is plugged.
    fn offer(&mut self, region: Span<Gpa>) -> Result<(), Refusal> {
        let is_aligned = region.is_aligned(self.blocks.block());
        if region.length() != u128::from(self.blocks.bytes())
            || !is_aligned
            || region.first() < LOWEST
        {
            let detail = format!(
                "{region}, not {:#x} bytes above {LOWEST} in blocks of {:#x}",
                self.blocks.bytes(),
                self.blocks.block().bytes()
            );
            return Err(Refusal::new(&NO_REGION, detail));
        }
        match self.gate.ask_back(region)? {
            Verdict::Free => self.offered(region),
            Verdict::Later => self.coming = Some(region),
            Verdict::Busy(Block { memory, holders }) => {
                let detail = format!("{region}: {} have {memory} mapped", holders.join(", "));
                return Err(Refusal::new(&NO_REGION, detail));
            }
        }
        Ok(())
    }

    fn offered(&mut self, region: Span<Gpa>) {
        self.backing.discard(region, &SpanSet::from_iter([region]));
        self.region = Some(region);
    }

    fn plug(&mut self, wanted: Span<Gpa>) -> Response {
        let bytes = wanted.length_u64().map_or(u64::MAX, NonZeroU64::get);
        if !self.blocks.are_all(self.offset(wanted), bytes, false) || self.asked.overlaps(&wanted) {
            return Response::Error;
        }
        if self.blocks.plugged_bytes() + bytes > self.requested {
            return Response::Nack;
        }
        if let Err(refusal) = self.gate.reuse(wanted) {
            self.refusal = Some(refusal);
            return Response::Busy;
        }
        self.blocks.set(self.offset(wanted), bytes, true);
        Response::Ack
    }

    /// Gives blocks back that are all plugged, all or none; `None` while somebody has one mapped who was
    /// asked for it.
    fn unplug(&mut self, wanted: Span<Gpa>) -> Result<Option<Response>, Refusal> {
        Ok(match self.gate.ask_back(wanted)? {
            Verdict::Free => {
                self.unplugged(wanted);
                Some(Response::Ack)
            }
            Verdict::Later => {
                self.asked.insert(wanted);
                None
            }
            Verdict::Busy(_) => {
                self.busy += 1;
                Some(Response::Busy)
            }
        })
    }

    /// The guest uses none of it, so what is gone may go although the rest has to wait.
    fn unplug_all(&mut self, region: Span<Gpa>) -> Result<Option<Response>, Refusal> {
        for (offset, bytes) in self.blocks.runs(true) {
            let Some(run) = region.subspan(offset, bytes) else { continue };
            if self.asked.overlaps(&run) {
                continue;
            }
            if self.unplug(run)? == Some(Response::Busy) {
                return Ok(Some(Response::Busy));
            }
        }
        Ok(self.asked.is_empty().then_some(Response::Ack))
    }

    fn unplugged(&mut self, span: Span<Gpa>) {
        let bytes = span.length_u64().map_or(u64::MAX, NonZeroU64::get);
        self.blocks.set(self.offset(span), bytes, false);
        self.backing.discard(span, &SpanSet::from_iter([span]));
    }

    fn offset(&self, span: Span<Gpa>) -> u64 {
        self.region.and_then(|region| region.offset_of(span.first())).unwrap_or(u64::MAX)
    }

    /// The blocks that a request names, if they are some of the region's.
    fn named(&self, asked: &Asked) -> Option<Span<Gpa>> {
        let bytes = u64::from(asked.blocks) * self.blocks.block().bytes();
        let span = Span::from_parts(asked.first, bytes)?;
        let is_ours = self.region.is_some_and(|region| region.encloses(&span));
        (is_ours && span.is_aligned(self.blocks.block())).then_some(span)
    }

    fn answer(&mut self, asked: &Asked) -> Result<Option<Response>, Refusal> {
        let Some(region) = self.region else { return Ok(Some(Response::Error)) };
        if asked.kind == Asked::UNPLUG_ALL {
            return self.unplug_all(region);
        }
        let Some(span) = self.named(asked) else { return Ok(Some(Response::Error)) };
        let bytes = span.length_u64().map_or(u64::MAX, NonZeroU64::get);
        let offset = self.offset(span);
        match asked.kind {
            Asked::PLUG => Ok(Some(self.plug(span))),
            Asked::UNPLUG if self.gone.encloses(&span) => Ok(Some(Response::Ack)),
            Asked::UNPLUG if self.asked.encloses(&span) => Ok(None),
            Asked::UNPLUG if self.blocks.are_all(offset, bytes, true) => self.unplug(span),
            Asked::UNPLUG => Ok(Some(Response::Error)),
            Asked::STATE => Ok(Some(Response::State(self.blocks.state(offset, bytes)))),
            _ => Err(Refusal::new(&BAD_DEVICE_REQUEST, format!("request {}", asked.kind))),
        }
    }
}

impl<G: GiveBack> Function<MemoryDevice<G>> {
    /// Discards what holders have let go of, and answers a guest that waits for it. To be called when the
    /// gate has something settled.
    pub fn settle_memory(&self) {
        self.with(|device| {
            for span in device.gate.settled() {
                if device.coming == Some(span) {
                    device.coming = None;
                    device.offered(span);
                } else if device.asked.encloses(&span) {
                    device.asked.remove(span);
                    device.unplugged(span);
                    device.gone.insert(span);
                } else if let Err(refusal) = device.gate.reuse(span) {
                    // It went with its region, so it is the guest's.
                    device.refusal = Some(refusal);
                }
            }
        });
        self.resume();
        // Whoever waited has heard of it.
        self.with(|device| device.gone = SpanSet::new());
    }
}

impl<G: GiveBack> VirtioDevice for MemoryDevice<G> {
    fn kind(&self) -> u16 {
        u16::try_from(VIRTIO_ID_MEM).expect("ids have 16 bits")
    }

    fn queues(&self) -> u16 {
        1
    }

    fn features(&self) -> u64 {
        UNPLUGGED_INACCESSIBLE
    }

    fn config(&self) -> Vec<u8> {
        let config = Config {
            block_bytes: self.blocks.block().bytes(),
            region: self.region,
            plugged_bytes: self.blocks.plugged_bytes(),
            requested_bytes: self.requested,
        };
        config.bytes()
    }

    /// What is plugged stays so: it is the driver that gives it back (section 5.15.5).
    fn reset(&mut self) {}

    fn request(&mut self, _queue: u16, request: &Request<'_>) -> Result<Answer, Refusal> {
        let bytes = request.read(REQUEST_BYTES)?;
        let Some(asked) = Asked::read(&bytes) else {
            let detail = format!("{} bytes, not {REQUEST_BYTES}", bytes.len());
            return Err(Refusal::new(&BAD_DEVICE_REQUEST, detail));
        };
        match self.answer(&asked)? {
            Some(response) => Ok(Answer::Done(request.write(&response.bytes())?)),
            None => Ok(Answer::NotYet),
        }
    }

    fn memory_came(&mut self, memory: Span<Gpa>, file: BorrowedFd<'_>, file_offset: u64) {
        if identity(file).ok() != Some(self.file) || file_offset != 0 {
            return;
        }
        self.backing.add(memory, file, file_offset);
        self.refusal = self.offer(memory).err();
    }

    fn memory_goes(&mut self, memory: Span<Gpa>) {
        self.backing.remove(memory);
        self.coming = self.coming.filter(|coming| *coming != memory);
        if self.region != Some(memory) {
            return;
        }
        // The guest moves it, so nothing of it is in use: the account takes all of it for the guest's.
        for (offset, bytes) in self.blocks.runs(false) {
            if let Some(free) = memory.subspan(offset, bytes)
                && let Err(refusal) = self.gate.reuse(free)
            {
                self.refusal = Some(refusal);
            }
        }
        self.blocks.clear();
        self.asked = SpanSet::new();
        self.region = None;
    }
}
