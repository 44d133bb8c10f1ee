//! What a device sees of a descriptor chain: bytes it copies out, spans it may act on.

use ringfence_addr::{Gpa, Rights, Span};
use ringfence_ledger::Claim;
use ringfence_refusal::Refusal;

use crate::chain::Chain;
use crate::guest_memory::GuestMemory;
use crate::refusals::REQUEST_TOO_LONG;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done, and so many bytes of its buffers were written.
    Done(u32),
    /// It stays in its queue, with all that follow it, until the device is asked again
    /// ([`Function::resume`](super::Function::resume)).
    NotYet,
}

/// One request, while it is answered.
pub struct Request<'a> {
    pub(super) memory: &'a GuestMemory,
    pub(super) chain: &'a Chain,
}

impl Request<'_> {
    /// Bytes that the device may write, in all.
    pub fn writable(&self) -> u64 {
        self.chain.writable
    }

    /// Copies out all that the device may read: once, so the copy is what is checked and used.
    ///
    /// # Errors
    ///
    /// `RF0222` for more than `most` bytes, and the ledger's refusals for what is no memory of the
    /// guest's.
    pub fn read(&self, most: usize) -> Result<Vec<u8>, Refusal> {
        let bytes = usize::try_from(self.chain.readable).ok().filter(|bytes| *bytes <= most);
        let Some(bytes) = bytes else {
            let detail = format!("{} bytes, {most} are the most", self.chain.readable);
            return Err(Refusal::new(&REQUEST_TOO_LONG, detail));
        };
        let mut read = vec![0; bytes];
        let mut done = 0;
        for claim in self.of_rights(Rights::READ) {
            let permit = self.memory.check(claim)?;
            // What is readable was summed up from these lengths.
            let length = claim.span().length_u64().map_or(0, |length| length.get());
            let end = done + usize::try_from(length).expect("no more than all of them");
            self.memory.read(&permit, &mut read[done..end]);
            done = end;
        }
        Ok(read)
    }

    /// Writes bytes to the beginning of what the device may write, as many as there is room for; says
    /// how many.
    ///
    /// # Errors
    ///
    /// The ledger's refusals for what is no memory of the guest's.
    pub fn write(&self, bytes: &[u8]) -> Result<u32, Refusal> {
        let mut rest = bytes;
        for claim in self.of_rights(Rights::WRITE) {
            if rest.is_empty() {
                break;
            }
            let length = claim.span().length_u64().map_or(u64::MAX, |length| length.get());
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at(length);
            let part = Claim::from_numbers(claim.span().first(), now.len() as u64, Rights::WRITE)?;
            self.memory.write(&self.memory.check(part)?, now);
            rest = later;
        }
        Ok(u32::try_from(bytes.len() - rest.len()).unwrap_or(u32::MAX))
    }

    /// The buffers the device may write, each checked to be memory of the guest's.
    ///
    /// # Errors
    ///
    /// The ledger's refusals for one that is not.
    pub fn writable_spans(&self) -> Result<Vec<Span<Gpa>>, Refusal> {
        let claims = self.of_rights(Rights::WRITE);
        claims.map(|claim| Ok(self.memory.check(claim)?.span())).collect()
    }

    /// Whether all of `span` is memory that the VMM lent.
    ///
    /// # Errors
    ///
    /// The ledger's refusals when it is not.
    pub fn check(&self, span: Span<Gpa>) -> Result<(), Refusal> {
        self.memory.check(Claim::new(span, Rights::READ_WRITE)).map(drop)
    }

    fn of_rights(&self, rights: Rights) -> impl Iterator<Item = Claim<Gpa>> + '_ {
        self.chain.buffers.iter().copied().filter(move |claim| claim.rights() == rights)
    }
}
