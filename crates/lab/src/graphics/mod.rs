//! A model of Intel's integrated graphics, as far as its stolen memory goes: for tests that see whether
//! what one tenant left there reaches the next.
//!
//! ```text
//!  BAR 0 ─ registers ── GFX_FLSH_CNTL: entries take effect
//!        └ page table (GGTT) ──► translations ──┐
//!  BAR 2 ─ aperture, page by page ──────────────┴─► stolen memory │ WOPCM │ anybody's memory
//! ```
//!
//! [`Graphics`] is the state machine, without I/O; [`Served`] shows it to an unmodified QEMU over
//! vfio-user, so that a real kernel and its VFIO drive it. What it does is what Linux 6.12's i915 counts
//! on (`gt/intel_ggtt.c`, `gem/i915_gem_stolen.c`, `gt/intel_rc6.c`, `i915_reg.h`), and where that leaves
//! a choice, what is hardest for a program that clears the memory:
//!
//! - An entry written to the page table has no effect before GFX_FLSH_CNTL is written.
//! - Nothing but writing clears the memory or the page table; a function-level reset does not.
//! - WOPCM, the top of the memory that firmware keeps, is not changed by anybody and reads as all ones.
//! - An entry can name any memory. What is not the device's own belongs to others.
//!
//! What should not happen is not refused, as silicon would not: it is counted ([`Account`]). A
//! [`Defect`] breaks the hardware in one way.
//!
//! A processor's accesses to the aperture are traps over a socket, which would take minutes. So its two
//! ends are memory that QEMU maps (`mirror.rs`), brought up to date when translations change, and
//! where a test looks. In there two pages of the aperture that name one page of memory show each other's
//! bytes only after the next flush, accesses through entries that name nothing are noticed only if they
//! wrote, and reads of others' memory are not noticed. Defects that show at once do without it.

mod account;
mod config;
mod defect;
mod design;
mod entry;
mod function;
mod memory;
mod mirror;
mod served;
#[cfg(test)]
mod tests;

pub use account::Account;
pub use config::MARK;
pub use defect::Defect;
pub use design::{
    BAY_TRAIL, Design, HASWELL, Kept, METEOR_LAKE, SKYLAKE, SKYLAKE_WITH_LITTLE, TIGER_LAKE,
};
pub use function::{Graphics, Snapshot};
pub use served::Served;

/// Bytes in a page, of the aperture and of memory.
pub const PAGE: usize = 4096;
