//! What a peer alleges, and what checking made of it.

use std::marker::PhantomData;

use ringfence_addr::{Address, Rights, Span};
use ringfence_refusal::Refusal;

use crate::refusals::{EMPTY, WRAPS};

/// What an untrusted peer says it wants to touch. Evidence of nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<A: Address> {
    span: Span<A>,
    rights: Rights,
}

impl<A: Address> Claim<A> {
    /// A claim to `span`, with `rights` as the device sees them.
    pub fn new(span: Span<A>, rights: Rights) -> Self {
        Self { span, rights }
    }

    /// A claim made of two numbers as they came over a wire: an address and a length in bytes.
    ///
    /// # Errors
    ///
    /// `RF0104` for a length of zero, `RF0103` when the bytes do not fit below the top of the
    /// space.
    pub fn from_numbers(first: A, length: u64, rights: Rights) -> Result<Self, Refusal> {
        match Span::from_parts(first, length) {
            Some(span) => Ok(Self { span, rights }),
            None if length == 0 => Err(Refusal::new(&EMPTY, format!("0 bytes at {first}"))),
            None => Err(Refusal::new(
                &WRAPS,
                format!("{length:#x} bytes from {first} pass the last {} address", A::SPACE),
            )),
        }
    }

    /// What would be touched.
    pub fn span(&self) -> Span<A> {
        self.span
    }

    /// How it would be touched.
    pub fn rights(&self) -> Rights {
        self.rights
    }
}

/// Proof that a [`Claim`] was checked and may be acted on while the ledger stands unchanged.
#[derive(Debug)]
pub struct Permit<'ledger, A: Address> {
    span: Span<A>,
    rights: Rights,
    ledger: PhantomData<&'ledger ()>,
}

impl<A: Address> Permit<'_, A> {
    pub(crate) fn of(claim: Claim<A>) -> Self {
        Self { span: claim.span, rights: claim.rights, ledger: PhantomData }
    }

    /// A permit nobody checked, for tests that show what the check is for.
    #[cfg(feature = "unguarded")]
    pub fn unguarded(claim: Claim<A>) -> Self {
        Self::of(claim)
    }

    /// The memory that may be touched.
    pub fn span(&self) -> Span<A> {
        self.span
    }

    /// How it may be touched.
    pub fn rights(&self) -> Rights {
        self.rights
    }
}
