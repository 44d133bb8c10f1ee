//! Who did what of the refused: one entry per peer and code, however often it is done.
//!
//! The number of entries is bounded by the catalogues, and each by a length, so a peer that does
//! the same wrong a million times makes a number grow and nothing else.

use std::collections::BTreeMap;
use std::fmt;

use ringfence_ledger::refusals as ledger;
use ringfence_refusal::{Code, Refusal};

use crate::refusals as codes;

/// The longest detail that is kept, in bytes.
const DETAIL_BYTES_MAX: usize = 240;

/// The end of the fence that a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// The guest: what stood in its rings.
    Guest,
    /// The VMM: what it said on its socket.
    Vmm,
    /// The backend: what it said on its socket, or wrote into the window.
    Backend,
}

impl Peer {
    /// What the peer is called: `guest`, `VMM` or `backend`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Vmm => "VMM",
            Self::Backend => "backend",
        }
    }

    /// Whom `refusal` is about: some codes say so themselves, for others it is `otherwise`.
    pub(crate) fn of(refusal: &Refusal, otherwise: Self) -> Self {
        let is_one_of = |codes: &[&'static Code]| codes.contains(&refusal.code());
        if is_one_of(&[&codes::BAD_AVAILABLE_INDEX, &codes::BAD_CHAIN, &codes::CHAIN_TOO_LARGE]) {
            Self::Guest
        } else if is_one_of(&[
            &codes::BAD_USED_INDEX,
            &codes::UNKNOWN_COMPLETION,
            &codes::USED_LENGTH,
            &codes::BACKEND_REFUSES,
            &codes::BACKEND_GONE,
            &codes::BACKEND_REQUEST,
            &codes::BACKEND_GIVEN_UP,
        ]) {
            Self::Backend
        } else if is_one_of(&[&codes::BAD_CONFIG]) {
            Self::Vmm
        } else if otherwise == Self::Backend && ledger::CATALOGUE.contains(&refusal.code()) {
            // No address of the backend's is ever looked up in guest memory.
            Self::Guest
        } else {
            otherwise
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One kind of wrong one peer did, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Who did it.
    pub peer: Peer,
    /// What it was refused with.
    pub code: &'static Code,
    /// How often.
    pub count: u64,
    /// The numbers of the first time.
    pub first: String,
    /// The numbers of the last time so far.
    pub last: String,
}

/// All that was refused so far.
#[derive(Debug, Default)]
pub(crate) struct Offences(BTreeMap<(Peer, u16), Offence>);

impl Offences {
    /// Enters one refusal. True when it is the first of its kind.
    pub(crate) fn enter(&mut self, peer: Peer, refusal: &Refusal) -> bool {
        let detail = cut(refusal.detail());
        let key = (peer, refusal.code().number);
        if let Some(offence) = self.0.get_mut(&key) {
            offence.count = offence.count.saturating_add(1);
            offence.last.clear();
            offence.last.push_str(detail);
            return false;
        }
        let (first, last) = (detail.to_owned(), detail.to_owned());
        self.0.insert(key, Offence { peer, code: refusal.code(), count: 1, first, last });
        true
    }

    /// How many entries there are.
    pub(crate) fn kinds(&self) -> usize {
        self.0.len()
    }

    /// All entries, by peer and code.
    pub(crate) fn list(&self) -> Vec<Offence> {
        self.0.values().cloned().collect()
    }
}

/// As much of a detail as is kept.
fn cut(detail: &str) -> &str {
    let end =
        (0..=DETAIL_BYTES_MAX.min(detail.len())).rev().find(|at| detail.is_char_boundary(*at));
    &detail[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_of_a_kind_are_one_entry() {
        let mut offences = Offences::default();
        for number in 0..1_000_000u32 {
            let refusal = Refusal::new(&codes::USED_LENGTH, format!("{number}"));
            assert_eq!(offences.enter(Peer::Backend, &refusal), number == 0);
        }
        let list = offences.list();
        let [offence] = list.as_slice() else { panic!("{list:?}") };
        assert_eq!((offence.peer, offence.code), (Peer::Backend, &codes::USED_LENGTH));
        assert_eq!(offence.count, 1_000_000);
        assert_eq!((offence.first.as_str(), offence.last.as_str()), ("0", "999999"));
    }

    #[test]
    fn everything_by_everybody_is_bounded_by_the_catalogue() {
        let mut offences = Offences::default();
        for _ in 0..3 {
            for code in codes::CATALOGUE {
                for peer in [Peer::Guest, Peer::Vmm, Peer::Backend] {
                    offences.enter(peer, &Refusal::new(code, "é".repeat(10_000)));
                }
            }
        }
        let list = offences.list();
        assert_eq!(list.len(), 3 * codes::CATALOGUE.len());
        assert!(list.iter().all(|offence| offence.first.len() <= DETAIL_BYTES_MAX));
        assert!(list.iter().all(|offence| offence.last.len() <= DETAIL_BYTES_MAX));
        assert!(list.iter().all(|offence| offence.count == 3));
    }

    #[test]
    fn a_code_only_one_peer_can_earn_names_it_whoever_was_spoken_to() {
        let of = |code, otherwise| Peer::of(&Refusal::new(code, ""), otherwise);
        assert_eq!(of(&codes::BAD_CHAIN, Peer::Backend), Peer::Guest);
        assert_eq!(of(&codes::UNKNOWN_COMPLETION, Peer::Guest), Peer::Backend);
        assert_eq!(of(&codes::MALFORMED_MESSAGE, Peer::Vmm), Peer::Vmm);
        assert_eq!(of(&codes::MALFORMED_MESSAGE, Peer::Backend), Peer::Backend);
    }
}
