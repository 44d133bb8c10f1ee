//! An address belongs to a space, and a span cannot wrap.
//!
//! - [`Gpa`], [`Iova`], [`Hpa`], [`Hva`], [`Gma`]: addresses of different spaces are different
//!   types, and none has arithmetic operators: every step that could leave the space is checked.
//! - [`Span`]: `first..=last` of one space. Never empty, cannot wrap, can hold the last address.
//! - [`SpanSet`] and [`SpanMap`]: many spans, kept disjoint.
//! - [`Rights`]: what a device may do with memory; they only narrow.
//! - [`PciAddress`]: which PCI function.
//!
//! ```
//! use core::num::NonZeroU64;
//! use ringfence_addr::{Gpa, Span, SpanMap};
//!
//! let last_page = Span::new(Gpa::new(!0xfff), Gpa::new(u64::MAX)).expect("first <= last");
//! let mut memory = SpanMap::new();
//! memory.insert(last_page, "the last page there is");
//! assert_eq!(memory.get(Gpa::new(u64::MAX)), Some((last_page, &"the last page there is")));
//!
//! // What does not fit below the top of the space is not a span.
//! let two_pages = NonZeroU64::new(0x2000).expect("not zero");
//! assert_eq!(Span::from_length(Gpa::new(!0xfff), two_pages), None);
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod address;
mod alignment;
mod gaps;
mod pci;
mod rights;
mod span;
mod span_map;
mod span_set;
mod text;
#[cfg(any(test, feature = "testing"))]
mod tiny;

pub use address::{Address, Gma, Gpa, Hpa, Hva, Iova};
pub use alignment::Alignment;
use gaps::Gaps;
pub use pci::{ParsePciAddressError, PciAddress};
pub use rights::Rights;
pub use span::Span;
pub use span_map::{IntoSpans, Occupied, SpanMap};
pub use span_set::SpanSet;
pub use text::{ParseAddressError, ParseSpanError};
#[cfg(any(test, feature = "testing"))]
pub use tiny::Tiny;
