//! The program as it is released has no way to switch a guard off.

use anyhow::{Result, ensure};
use ringfence_lab::binary;

/// What stands in programs that have one (`virtio/src/guards.rs`; that crate's own tests look for
/// it in themselves, and find it).
const MARK: &[u8] = b"compiled with guards that can be switched off";

pub(crate) fn has_no_switch() -> Result<()> {
    // Built by itself, not along with tests, whose features would be its features too.
    let program = std::fs::read(binary("ringfence", "ringfence")?)?;
    ensure!(program.len() > MARK.len(), "the program is empty");
    let found = program.windows(MARK.len()).any(|window| window == MARK);
    ensure!(!found, "the released program can switch guards off");
    Ok(())
}
