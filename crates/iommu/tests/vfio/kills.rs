//! What a supervisor found after each end of the service, and what it left.

use anyhow::{Context, Result, ensure};

/// Steps of a life: before and after each of what it has a device's IOMMU do.
const STEPS: usize = 26;

/// Invariant `I17`, in the kernel's own count. **The** check: whatever was reached was in the journal, and nothing is left of it, pinned or mapped.
pub(crate) fn check(text: &str) -> Result<()> {
    let lines: Vec<&str> = text.lines().collect();
    let mut most = 0;
    for (index, line) in lines.iter().enumerate() {
        let end = if index == STEPS { "lived" } else { "signal: 9 (SIGKILL)" };
        let begin = format!("step {}: {end}; reached ", index + 1);
        let found = line.strip_prefix(&begin).with_context(|| format!("not {begin}: {line}"))?;
        let (reached, rest) =
            found.split_once(", not in the journal 0, pinned ").context(found.to_owned())?;
        let (pinned, rest) = rest.split_once("; settled ").context(found.to_owned())?;
        // A page that is reached is pinned, and none for nothing.
        ensure!(reached == pinned, "{line}");
        ensure!(rest.ends_with("; reached 0, pinned 0, in the journal 0"), "{line}");
        most = most.max(reached.parse::<u32>()?);
    }
    ensure!(lines.len() == STEPS + 1, "{} steps:\n{text}", lines.len());
    ensure!(most == 7, "no end came when all was mapped:\n{text}");
    Ok(())
}
