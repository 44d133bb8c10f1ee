//! A balloon through which a guest gives pages back while devices are attached.
//!
//! Virtio 1.2, section 5.5: queues for inflating, deflating and reporting free pages. Every page goes
//! through the gate ([`crate::GiveBack`]) before it is discarded:
//!
//! - A page that no device has mapped is free at once, and its memory the host's.
//! - A page within a block that devices have mapped *waits*, untouched. When all pages of the block are in
//!   the balloon the block is asked back, and discarded when its holders have let go.
//! - A guest deflates and waits for the answer (`VIRTIO_BALLOON_F_MUST_TELL_HOST`). Before it gets one,
//!   the pages are its own again, and a block that was asked back is mapped again.
//! - Without that feature, and for reported free pages always, a guest uses pages again without a word. So
//!   they are discarded only where no device has them mapped, and are the guest's again at once; where one
//!   has, they are kept as they are, and counted.
//!
//! The VMM must not map the guest's memory for devices by itself (QEMU's own `vfio-pci`): the account would
//! not know.

mod pages;
mod status;

use std::os::fd::BorrowedFd;

use ringfence_addr::{Gpa, Span, SpanSet};
use ringfence_refusal::Refusal;
use virtio_bindings::virtio_ids::VIRTIO_ID_BALLOON;

use crate::backing::Backing;
use crate::give_back::GiveBack;
use crate::pci::{Answer, Function, Request, VirtioDevice};
use crate::refusals::BAD_DEVICE_REQUEST;

use pages::Pages;
pub use status::BalloonStatus;

/// Bytes of a page as the balloon counts them, whatever the guest's are (section 5.5.6).
pub const PAGE_BYTES: u64 = 4096;

/// `VIRTIO_BALLOON_F_MUST_TELL_HOST`.
const MUST_TELL_HOST: u64 = 1 << 0;
/// `VIRTIO_BALLOON_F_DEFLATE_ON_OOM`.
const DEFLATE_ON_OOM: u64 = 1 << 2;
/// `VIRTIO_BALLOON_F_PAGE_REPORTING`.
const PAGE_REPORTING: u64 = 1 << 5;

const INFLATE: u16 = 0;
const DEFLATE: u16 = 1;
/// Drivers number queues as if those of features that were not agreed on were not there; the
/// specification does not. Neither 2 (statistics) nor 3 (hints) is anything else here.
const REPORTING: [u16; 3] = [2, 3, 4];
const QUEUES: u16 = 5;

/// The most pages in one request. Drivers in use send up to 1024.
const PAGES_MAX: usize = 4096;

/// How a balloon is to be.
#[derive(Clone, Copy, Debug)]
pub struct BalloonOptions {
    /// Whether the guest may report free pages.
    pub reports: bool,
    /// Whether the guest may deflate by itself when it is short of memory.
    pub deflates_when_short: bool,
    /// The most separate pieces of memory the balloon remembers, at some hundred bytes each in all books.
    /// Pages beyond are left to the guest.
    pub pieces_max: usize,
}

impl Default for BalloonOptions {
    fn default() -> Self {
        Self { reports: true, deflates_when_short: false, pieces_max: 1 << 18 }
    }
}

/// A balloon, behind the gate `G`.
pub struct Balloon<G> {
    gate: G,
    pages: Pages,
    backing: Backing,
    options: BalloonOptions,
    target: u32,
    actual: u32,
    /// Whether the guest says so before it uses a page again.
    tells: bool,
}

impl<G: GiveBack> Balloon<G> {
    /// An empty balloon.
    pub fn new(gate: G, options: BalloonOptions) -> Self {
        Self {
            gate,
            pages: Pages::new(options.pieces_max),
            backing: Backing::default(),
            options,
            target: 0,
            actual: 0,
            tells: false,
        }
    }

    /// Asks the guest to have so many bytes in the balloon, in whole pages.
    pub fn set_target(&mut self, bytes: u64) {
        self.target = u32::try_from(bytes / PAGE_BYTES).unwrap_or(u32::MAX);
    }

    /// How it stands.
    pub fn status(&self) -> BalloonStatus {
        BalloonStatus {
            target_bytes: u64::from(self.target) * PAGE_BYTES,
            actual_bytes: u64::from(self.actual) * PAGE_BYTES,
            given_back_bytes: self.pages.free_bytes(),
            waiting_bytes: self.pages.waiting_bytes(),
            holders: self.pages.holders(),
            resident_bytes: self.backing.resident_bytes(),
            guest_tells: self.tells,
            counts: self.pages.counts.clone(),
            discarded_bytes: self.backing.discarded_bytes,
            discards_failed: self.backing.failures,
        }
    }

    /// The gate.
    pub fn gate(&mut self) -> &mut G {
        &mut self.gate
    }

    fn inflate(&mut self, pages: &SpanSet<Gpa>) -> Result<(), Refusal> {
        for span in pages.iter() {
            match self.tells {
                true => self.pages.inflate(span, &mut self.gate, &mut self.backing)?,
                false => self.pages.pass(span, &mut self.gate, &mut self.backing)?,
            }
        }
        Ok(())
    }
}

impl<G: GiveBack> Function<Balloon<G>> {
    /// Discards what holders have let go of, and answers a guest that waits for it. To be called when the
    /// gate has something settled, and when a holder has given up memory by itself.
    ///
    /// # Errors
    ///
    /// The gate's refusals; what it refused stays as it was.
    pub fn settle(&self) -> Result<(), Refusal> {
        let settled =
            self.with(|balloon| balloon.pages.settle(&mut balloon.gate, &mut balloon.backing));
        self.resume();
        settled
    }
}

impl<G: GiveBack> VirtioDevice for Balloon<G> {
    fn kind(&self) -> u16 {
        u16::try_from(VIRTIO_ID_BALLOON).expect("ids have 16 bits")
    }

    fn queues(&self) -> u16 {
        QUEUES
    }

    fn features(&self) -> u64 {
        let mut features = MUST_TELL_HOST;
        if self.options.reports {
            features |= PAGE_REPORTING;
        }
        if self.options.deflates_when_short {
            features |= DEFLATE_ON_OOM;
        }
        features
    }

    fn config(&self) -> Vec<u8> {
        [self.target.to_le_bytes(), self.actual.to_le_bytes()].concat()
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) {
        // `actual` is the driver's, and only told to people.
        if let (4, Ok(actual)) = (offset, <[u8; 4]>::try_from(data)) {
            self.actual = u32::from_le_bytes(actual);
        }
    }

    fn start(&mut self, features: u64) {
        self.tells = features & MUST_TELL_HOST != 0;
    }

    fn reset(&mut self) {
        self.actual = 0;
        self.tells = false;
        self.pages.reset(&mut self.gate);
    }

    fn request(&mut self, queue: u16, request: &Request<'_>) -> Result<Answer, Refusal> {
        match queue {
            INFLATE => {
                let pages = numbered(request)?;
                self.inflate(&pages)?;
            }
            DEFLATE => {
                let pages = numbered(request)?;
                if pages.iter().any(|span| self.pages.is_being_asked_back(span)) {
                    return Ok(Answer::NotYet);
                }
                for span in pages.iter() {
                    self.pages.deflate(span, &mut self.gate)?;
                }
            }
            _ if REPORTING.contains(&queue) => {
                for span in request.writable_spans()? {
                    let whole = span.aligned_in(ringfence_addr::Alignment::PAGE_4K);
                    if let Some(span) = whole {
                        self.pages.pass(span, &mut self.gate, &mut self.backing)?;
                    }
                }
            }
            _ => return Err(Refusal::new(&BAD_DEVICE_REQUEST, "on a queue without a use")),
        }
        Ok(Answer::Done(0))
    }

    fn memory_came(&mut self, memory: Span<Gpa>, file: BorrowedFd<'_>, file_offset: u64) {
        self.backing.add(memory, file, file_offset);
    }

    fn memory_goes(&mut self, memory: Span<Gpa>) {
        self.backing.remove(memory);
    }
}

/// The pages that a request names by their numbers, each checked to be the guest's memory.
fn numbered(request: &Request<'_>) -> Result<SpanSet<Gpa>, Refusal> {
    let bytes = request.read(PAGES_MAX * 4)?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if numbers.is_empty() || !rest.is_empty() || request.writable() != 0 {
        let detail = format!(
            "{} bytes of page numbers, and {} bytes to be written",
            bytes.len(),
            request.writable()
        );
        return Err(Refusal::new(&BAD_DEVICE_REQUEST, detail));
    }
    let pages = numbers.iter().map(|number| {
        let first = Gpa::new(u64::from(u32::from_le_bytes(*number)) * PAGE_BYTES);
        Span::from_parts(first, PAGE_BYTES).expect("2^32 pages do not reach the last address")
    });
    let pages: SpanSet<Gpa> = pages.collect();
    for span in pages.iter() {
        request.check(span)?;
    }
    Ok(pages)
}
