//! Page tables of IOMMUs, in memory of ours: VT-d's second stage and AMD's version 1.
//!
//! [`PageTables`] maps, unmaps and narrows; a [`Format`] knows the bits; a [`TableMemory`] holds the
//! tables, be it [`Arena`], in this process, or memory that a real IOMMU reads. Every change returns
//! what is [`Stale`]: what an IOMMU may still believe. It becomes [`Flushed`] only by an invalidation
//! of what was really changed, and only then can tables be used again.
//!
//! ```
//! use ringfence_addr::{Hpa, Iova, Rights, Span};
//! use ringfence_iommu::pages::{Arena, Level, PageTables, VtdSecondStage};
//!
//! let format = VtdSecondStage::with_levels(Level::FOUR)?;
//! let mut tables = PageTables::new(format, Arena::new(Hpa::new(0), 64)?)?;
//! let two_mib = Span::from_parts(Iova::new(0x4000_0000), 2 << 20).expect("it does not wrap");
//! let stale = tables.map(two_mib, Hpa::new(0x20_0000), Rights::READ)?;
//! assert_eq!(stale.span(), None, "what was not translated is not remembered");
//! let leaf = tables.lookup(Iova::new(0x4000_1234)).expect("it is mapped");
//! assert_eq!((leaf.pages, leaf.rights), (two_mib, Rights::READ), "one entry for all of it");
//!
//! // One page of it is taken away; what the IOMMU has to forget is the large page.
//! let page = Span::from_parts(Iova::new(0x4000_1000), 0x1000).expect("it does not wrap");
//! let stale = tables.unmap(page, |gone| assert_eq!(gone.frame, Hpa::new(0x20_1000)))?;
//! assert_eq!((stale.pages(), stale.span()), (1, Some(two_mib)));
//! let flushed = stale.flush(|span| forget(span)).map_err(|(_, refusal)| refusal)?;
//! tables.release(flushed);
//! # fn forget(_: Span<Iova>) -> Result<(), ringfence_refusal::Refusal> { Ok(()) }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod amd;
mod arena;
mod edit;
mod epoch;
mod format;
mod level;
mod memory;
mod reader;
mod small;
mod stale;
mod survey;
mod sync;
mod tree;
mod vtd;
mod walk;

pub use amd::AmdV1;
pub use arena::{Arena, SharedTables};
pub use epoch::{Epoch, Epochs, Seat, Visit};
pub use format::{Entry, Format, Shape};
pub use level::{ENTRIES, Level};
pub use memory::{TableMemory, Tables};
pub use reader::{Reader, Reading};
pub use stale::{Flushed, Stale};
pub use tree::PageTables;
pub use vtd::VtdSecondStage;
pub use walk::{Leaf, Leaves};
