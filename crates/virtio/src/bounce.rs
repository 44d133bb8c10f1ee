//! One queue bounced: the guest's requests copied into the window, the backend's answers copied
//! back.
//!
//! For each chain: copied once, every address a claim until the ledger made it a permit, the
//! device-readable bytes copied into pages of the window, a chain of the broker's own entered for
//! the backend. On completion at most what the guest offered as writable is copied back. A chain
//! for which the window has no room waits, and those behind it wait in the guest's ring.
//!
//! **Invariant:** a request is given back to the guest at most once, and only while it is
//! outstanding. **Invariant:** guest memory is written only here, within the writable buffers of an
//! outstanding request.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use ringfence_addr::{Address, Gpa, Rights, Span};
use ringfence_ledger::Claim;
use ringfence_refusal::Refusal;

use crate::backend_queue::{BackendQueue, WindowBuffer};
use crate::chain::{Chain, DESCRIPTOR_BYTES};
use crate::counters::{Counters, add};
use crate::guards::{Guard, Guards};
use crate::guest_memory::GuestMemory;
use crate::guest_queue::GuestQueue;
use crate::offences::Peer;
use crate::pages::{PAGE_BYTES, Run};
use crate::quota::Throttle;
use crate::refusals::{CHAIN_TOO_LARGE, UNKNOWN_COMPLETION, USED_LENGTH};
use crate::spares::{Roomy, Spares};
use crate::window::{Window, offset_of};

/// Buffers below a page share pages, aligned to a cache line.
const SMALL_ALIGNMENT: usize = 64;

/// After so many bytes copied, what is ready is shown to the other side, so that it works on the
/// first requests of a batch while the later ones are copied.
const PUBLISH_BYTES: u64 = 1 << 20;

/// A queue of the guest's and the backend's queue that stands in for it.
#[derive(Debug)]
pub(crate) struct Bounce {
    index: usize,
    guest: GuestQueue,
    backend: BackendQueue,
    /// Outstanding requests by the backend's name for them, the head of their chain.
    requests: Vec<Option<Request>>,
    /// Chains taken from the guest that the backend does not have: one that waits for room, or
    /// those of a backend that died, in the order they were published.
    waiting: VecDeque<Chain>,
    /// Chains that are done with, kept for the room in them.
    spare: Spares<Request>,
    /// What the queue may still use.
    throttle: Throttle,
    guards: Guards,
}

/// One request on its way: the guest's chain and where its buffers are in the window.
#[derive(Debug, Default)]
struct Request {
    chain: Chain,
    placed: Placed,
    buffers: Vec<WindowBuffer>,
    run: Option<Run>,
}

impl Roomy for Request {
    fn room(&self) -> usize {
        let here = self.placed.offsets.capacity().max(self.buffers.capacity());
        here.max(self.chain.room())
    }
}

/// Where the buffers of a chain go, relative to the run they get.
#[derive(Debug, Default)]
struct Placed {
    offsets: Vec<usize>,
    bytes: usize,
}

/// What serving a queue came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Something was moved either way.
    pub(crate) moved: bool,
    /// The guest is to be interrupted.
    pub(crate) call_guest: bool,
    /// The backend is to be kicked.
    pub(crate) kick_backend: bool,
}

/// What the queues of a device have in common.
pub(crate) struct Surroundings<'a> {
    pub(crate) memory: &'a GuestMemory,
    pub(crate) window: &'a mut Window,
    pub(crate) counters: &'a Counters,
}

impl Placed {
    /// Lays the buffers out: an indirect table and small buffers first, then every larger buffer
    /// on pages of its own, so that a backend may hand them to the kernel unbuffered.
    fn lay_out(&mut self, chain: &Chain) {
        self.offsets.clear();
        let table = if chain.indirect { chain.buffers.len() * DESCRIPTOR_BYTES } else { 0 };
        let mut small = table.next_multiple_of(SMALL_ALIGNMENT);
        for claim in &chain.buffers {
            let length = length_of(claim.span());
            self.offsets.push(small);
            if length < PAGE_BYTES {
                small = (small + length).next_multiple_of(SMALL_ALIGNMENT);
            }
        }
        let mut large = small.next_multiple_of(PAGE_BYTES);
        for (offset, claim) in self.offsets.iter_mut().zip(&chain.buffers) {
            let length = length_of(claim.span());
            if length >= PAGE_BYTES {
                *offset = large;
                large = (large + length).next_multiple_of(PAGE_BYTES);
            }
        }
        self.bytes = large;
    }
}

fn length_of(span: Span<Gpa>) -> usize {
    let length = span.length_u64().expect("a buffer is shorter than its space");
    usize::try_from(length.get()).expect("buffers have 32-bit lengths")
}

impl Bounce {
    /// Joins the two queues.
    pub(crate) fn new(
        index: usize,
        guest: GuestQueue,
        backend: BackendQueue,
        throttle: Throttle,
        guards: Guards,
    ) -> Self {
        let requests = (0..guest.size()).map(|_| None).collect();
        Self {
            index,
            guest,
            backend,
            requests,
            waiting: VecDeque::new(),
            spare: Spares::default(),
            throttle,
            guards,
        }
    }

    /// The queue towards the backend.
    pub(crate) fn backend(&self) -> &BackendQueue {
        &self.backend
    }

    /// Whether the queue waits for its quota.
    pub(crate) fn is_throttled(&self) -> bool {
        self.throttle.is_on()
    }

    /// How long it still waits for its quota, if it does.
    pub(crate) fn quota_wait(&self) -> Option<Duration> {
        self.throttle.wait()
    }

    /// What the queue may still use, for when it is set up again.
    pub(crate) fn take_throttle(&mut self) -> Throttle {
        std::mem::take(&mut self.throttle)
    }

    /// Finds the guest's ring again after its memory was named anew.
    pub(crate) fn remap(&mut self, memory: &GuestMemory) -> Result<(), Refusal> {
        self.guest.remap(memory)
    }

    /// Moves whatever can be moved, both ways.
    pub(crate) fn serve(&mut self, around: &mut Surroundings<'_>) -> Result<Progress, Refusal> {
        let mut progress = Progress::default();
        self.reap(around, &mut progress)?;
        self.fetch(around, &mut progress)?;
        Ok(progress)
    }

    /// Takes every completion there is, and no new requests.
    pub(crate) fn reap_all(&mut self, around: &mut Surroundings<'_>) -> Result<(), Refusal> {
        loop {
            let mut progress = Progress::default();
            self.reap(around, &mut progress)?;
            if !progress.moved {
                return Ok(());
            }
        }
    }

    /// Moves completions, and what waits, but takes nothing new from the guest.
    pub(crate) fn give_again(
        &mut self,
        around: &mut Surroundings<'_>,
    ) -> Result<Progress, Refusal> {
        let mut progress = Progress::default();
        self.reap(around, &mut progress)?;
        while let Some(chain) = self.waiting.pop_front() {
            let request = Request { chain, ..self.spare.take() };
            if let Some(back) = self.give(around, request)? {
                self.waiting.push_front(back.chain);
                break;
            }
            progress.moved = true;
        }
        progress.kick_backend |= self.backend.publish();
        Ok(progress)
    }

    /// Asks neither side to notify, while the queue is looked at anyway.
    pub(crate) fn suppress_notifications(&mut self) {
        self.guest.suppress_kicks();
        self.backend.suppress_calls();
    }

    /// Asks both sides to notify, and says whether something came in before they could know.
    pub(crate) fn want_notifications(&mut self) -> Result<bool, Refusal> {
        self.backend.want_calls();
        let mut missed = self.backend.completed()? > 0;
        // While a chain waits for room, only a completion can help it; a quota, only time.
        if self.waiting.is_empty() && !self.throttle.is_on() {
            self.guest.want_kicks();
            missed |= self.guest.waiting()? > 0;
        }
        Ok(missed)
    }

    /// Takes the guest's new requests to the backend.
    fn fetch(
        &mut self,
        around: &mut Surroundings<'_>,
        progress: &mut Progress,
    ) -> Result<(), Refusal> {
        let mut unpublished = 0;
        self.throttle.lift();
        // At most one ring's worth, so that no queue keeps the others waiting for ever.
        for _ in 0..self.guest.size() {
            let mut request = self.spare.take();
            match self.waiting.pop_front() {
                Some(chain) => request.chain = chain,
                None if self.guest.waiting()? == 0 => {
                    self.spare.keep(request);
                    break;
                }
                None if !self.throttle.admits(around.counters) => {
                    self.spare.keep(request);
                    break;
                }
                None => {
                    self.guest.take(around.memory, &mut request.chain)?;
                    self.throttle.charge(request.chain.readable + request.chain.writable);
                }
            }
            let copied = request.chain.readable;
            if let Some(back) = self.give(around, request)? {
                self.waiting.push_front(back.chain);
                break;
            }
            progress.moved = true;
            add(&around.counters.bytes_to_device, copied);
            unpublished += copied;
            if unpublished >= PUBLISH_BYTES {
                unpublished = 0;
                progress.kick_backend |= self.backend.publish();
                if progress.kick_backend {
                    // The caller kicks at once and comes back for the rest.
                    return Ok(());
                }
            }
        }
        progress.kick_backend |= self.backend.publish();
        Ok(())
    }

    /// Copies one request into the window and enters it for the backend, or hands it back when
    /// there is no room now.
    fn give(
        &mut self,
        around: &mut Surroundings<'_>,
        mut request: Request,
    ) -> Result<Option<Request>, Refusal> {
        request.placed.lay_out(&request.chain);
        let pages = request.placed.bytes.div_ceil(PAGE_BYTES);
        let most = around.window.most_for_one_request();
        let Some(pages) = u32::try_from(pages).ok().filter(|pages| *pages <= most) else {
            let detail = format!(
                "queue {}: a request of {} bytes, the most is {}",
                self.index,
                request.placed.bytes,
                u64::from(most) * PAGE_BYTES as u64
            );
            return Err(Refusal::new(&CHAIN_TOO_LARGE, detail));
        };
        if !self.backend.has_room(request.chain.buffers.len(), request.chain.indirect) {
            return Ok(Some(request));
        }
        let Some(run) = around.window.take(self.index, pages) else {
            return Ok(Some(request));
        };
        if let Err(refusal) = self.copy_out(around, &mut request, run) {
            around.window.give_back(self.index, run);
            return Err(refusal.within(format_args!("queue {}", self.index)));
        }
        let head = if request.chain.indirect {
            let table = around.window.area_of(run);
            let address = around.window.address_of(run);
            self.backend.add(&request.buffers, Some((&table, address)))
        } else {
            self.backend.add(&request.buffers, None)
        };
        request.run = Some(run);
        self.requests[usize::from(head)] = Some(request);
        Ok(None)
    }

    /// Checks every buffer of a request and copies the readable ones.
    fn copy_out(
        &self,
        around: &Surroundings<'_>,
        request: &mut Request,
        run: Run,
    ) -> Result<(), Refusal> {
        #[cfg(feature = "unguarded")]
        let again = self.read_again(around, &request.chain);
        let base = offset_of(run);
        let first = around.window.address_of(run);
        request.buffers.clear();
        for (position, claim) in request.chain.buffers.iter().enumerate() {
            let offset = request.placed.offsets[position];
            let permit = around.memory.check(*claim)?;
            #[cfg(feature = "unguarded")]
            let permit = match again.as_ref().and_then(|chain| chain.buffers.get(position)) {
                Some(claim) => ringfence_ledger::Permit::unguarded(*claim),
                None => permit,
            };
            let writable = claim.rights() == Rights::WRITE;
            // Invariant `published-only`: a buffer for an answer is not copied out.
            if !writable {
                around.memory.copy_out(&permit, around.window.area(), base + offset);
            }
            #[cfg(feature = "unguarded")]
            if writable && !self.guards.stands(Guard::Published) {
                // As bounce buffers do that keep what a device does not write.
                let (at, length) = (claim.span().first(), length_of(claim.span()) as u64);
                let claim = Claim::from_numbers(at, length, Rights::READ)?;
                let permit = ringfence_ledger::Permit::unguarded(claim);
                around.memory.copy_out(&permit, around.window.area(), base + offset);
            }
            request.buffers.push(WindowBuffer {
                address: first.checked_add(offset as u64).expect("within the run"),
                length: u32::try_from(length_of(claim.span())).expect("32-bit lengths"),
                writable,
            });
        }
        Ok(())
    }

    /// The chain as it stands in the guest's ring by now, for tests that show why the broker never
    /// looks twice.
    #[cfg(feature = "unguarded")]
    fn read_again(&self, around: &Surroundings<'_>, chain: &Chain) -> Option<Chain> {
        if self.guards.stands(Guard::ReadOnce) {
            return None;
        }
        let mut again = Chain::default();
        self.guest.read_chain(around.memory, chain.head, &mut again).ok()?;
        let same = again.buffers.iter().zip(&chain.buffers).all(|(now, then)| {
            now.rights() == then.rights() && now.span().length() == then.span().length()
        });
        same.then_some(again)
    }

    /// Takes the backend's completions to the guest.
    fn reap(
        &mut self,
        around: &mut Surroundings<'_>,
        progress: &mut Progress,
    ) -> Result<(), Refusal> {
        let mut unpublished = 0;
        for _ in 0..self.backend.completed()? {
            let copied = self.complete_one(around)?;
            progress.moved = true;
            add(&around.counters.requests, 1);
            add(&around.counters.bytes_to_guest, copied);
            unpublished += copied;
            if unpublished >= PUBLISH_BYTES {
                unpublished = 0;
                progress.call_guest |= self.guest.publish();
                if progress.call_guest {
                    return Ok(());
                }
            }
        }
        progress.call_guest |= self.guest.publish();
        Ok(())
    }

    /// Checks one completion, copies its bytes back, and gives the request back to the guest.
    fn complete_one(&mut self, around: &mut Surroundings<'_>) -> Result<u64, Refusal> {
        let completion = self.backend.next_completion();
        let head = u16::try_from(completion.id).ok();
        // Invariant `outstanding-once`: found here, and taken out when it is completed.
        let request = head
            .and_then(|head| self.requests.get(usize::from(head)))
            .and_then(Option::as_ref)
            .ok_or_else(|| {
                let detail = format!("queue {}: id {}", self.index, completion.id);
                Refusal::new(&UNKNOWN_COMPLETION, detail)
            })?;
        let head = head.expect("found by it");
        let room = request.chain.writable;
        let mut length = u64::from(completion.length);
        if length > room {
            let detail = format!(
                "queue {}: {length} bytes of request {head}, which has room for {room}",
                self.index
            );
            around.counters.refuse(Peer::Backend, Refusal::new(&USED_LENGTH, detail));
            if self.guards.stands(Guard::UsedLength) {
                length = room;
            }
        }
        if let Err(refusal) = self.copy_in(around, request, length) {
            // The backend is done with it, and the guest took the memory away: so are we.
            self.retire(around.window, head);
            return Err(refusal.within(format_args!("queue {}", self.index)));
        }
        self.throttle.refund(room.saturating_sub(length));
        let told = u32::try_from(length).expect("no longer than a 32-bit length");
        self.guest.complete(request.chain.head, told);
        if self.guards.stands(Guard::Outstanding) {
            self.retire(around.window, head);
        }
        Ok(length)
    }

    /// Copies `length` bytes back, first buffer first.
    fn copy_in(
        &self,
        around: &Surroundings<'_>,
        request: &Request,
        length: u64,
    ) -> Result<(), Refusal> {
        let base = offset_of(request.run.expect("an outstanding request has its pages"));
        let mut left = length;
        let buffers = request.chain.buffers.iter().zip(&request.placed.offsets);
        for (claim, offset) in buffers.filter(|(claim, _)| claim.rights() == Rights::WRITE) {
            if left == 0 {
                break;
            }
            // Invariant `answers-only`: no further than the buffers of this request.
            let whole = length_of(claim.span()) as u64;
            let part = if self.guards.stands(Guard::UsedLength) { left.min(whole) } else { left };
            let claim = Claim::from_numbers(claim.span().first(), part, Rights::WRITE)?;
            let permit = around.memory.check(claim)?;
            around.memory.copy_in(&permit, around.window.area(), base + offset);
            left -= part;
        }
        Ok(())
    }

    /// Forgets an outstanding request and takes its pages and descriptors back.
    fn retire(&mut self, window: &mut Window, head: u16) {
        let mut request = self.requests[usize::from(head)].take().expect("an outstanding request");
        let run = request.run.take().expect("an outstanding request has its pages");
        window.give_back(self.index, run);
        self.backend.release(head);
        self.spare.keep(request);
    }

    /// Puts a new backend's ring in place of the one of a backend that died. What that one had and
    /// did not complete waits to be given again, in the order the guest published it; the window
    /// is a new one, so nothing of it has a place there yet. Returns how many there are.
    pub(crate) fn begin_again(&mut self, backend: BackendQueue) -> usize {
        self.backend = backend;
        let lost = self.requests.iter_mut().filter_map(Option::take);
        let mut chains: Vec<Chain> = lost.map(|request| request.chain).collect();
        let next = self.guest.next_available();
        // The oldest has come the furthest from the next to be taken.
        chains.sort_by_key(|chain| Reverse(next.wrapping_sub(chain.position)));
        let count = chains.len();
        for chain in chains.into_iter().rev() {
            self.waiting.push_front(chain);
        }
        count
    }

    /// Whether everything not completed is what the guest published last, so that all of it could
    /// be left in the guest's ring. It need not be once requests were given again: others that
    /// were published later may be complete.
    pub(crate) fn is_last_of_all(&self) -> bool {
        let outstanding = self.requests.iter().flatten().map(|request| &request.chain);
        let all = outstanding.chain(&self.waiting);
        let next = self.guest.next_available();
        let (count, furthest) = all.fold((0u16, 0), |(count, furthest), chain| {
            (count + 1, furthest.max(next.wrapping_sub(chain.position)))
        });
        furthest == count
    }

    /// Of the `count` requests published last that are not completed, how many can be left in the
    /// guest's ring: going back over one that is completed would give it to the guest again.
    fn leavable(&self, count: usize) -> u16 {
        let next = self.guest.next_available();
        let outstanding = self.requests.iter().flatten().map(|request| &request.chain);
        let all = outstanding.chain(&self.waiting);
        let mut back: Vec<u16> = all.map(|chain| next.wrapping_sub(chain.position)).collect();
        back.sort_unstable();
        let without_hole = (1u16..).zip(back).take(count).take_while(|(step, back)| step == back);
        u16::try_from(without_hole.count()).expect("no more than a ring's")
    }

    /// Ends the queue. Requests the backend never began, the last `unbegun` it was given, are left
    /// in the guest's ring, as far as they can be. Returns the guest's next entry of the available
    /// ring.
    pub(crate) fn close(mut self, window: &mut Window, unbegun: u16) -> u16 {
        let left = self.leavable(usize::from(unbegun) + self.waiting.len());
        let next = self.guest.next_available().wrapping_sub(left);
        for head in 0..self.guest.size() {
            if self.requests[usize::from(head)].is_some() {
                self.retire(window, head);
            }
        }
        window.close_queue(self.index, self.backend.run());
        next
    }
}
