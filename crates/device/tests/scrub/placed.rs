//! Whether a function that is open says of its memory what a plan was made for: by a snapshot, and by what
//! somebody typed.

use anyhow::{Result, ensure};
use ringfence_lab::graphics::HASWELL;
use ringfence_lab::{HostMachine, HostReport};

use super::Function;

/// Haswell's memory with its page table of 2 MiB before.
const RIGHT: &str = "0x9de00000-0x9fffffff";
const WRONG: &str = "0x7de00000-0x7fffffff";

fn vm(function: &Function, stolen: &str) -> String {
    format!(
        "[vm]\nname = \"desk\"\nmemory = \"1G\"\n\n[[device]]\nkind = \"pci\"\naddress = \"{}\"\n{stolen}\n",
        function.address
    )
}

/// What is asked of the first Haswell.
pub(super) fn cases(machine: HostMachine, function: &Function) -> HostMachine {
    if *function.design != HASWELL {
        return machine;
    }
    machine
        .with(|machine| {
            machine
                .file("/root/plain.toml", vm(function, ""))
                .file("/root/right.toml", vm(function, &format!("stolen = \"{RIGHT}\"")))
                .file("/root/wrong.toml", vm(function, &format!("stolen = \"{WRONG}\"")))
        })
        // A host of which nothing is known but its tables.
        .prepare(
            "ringfence snapshot /tmp/host.snapshot; mkdir -p /tmp/bare/sys/firmware/acpi/tables
             cp /sys/firmware/acpi/tables/DMAR /tmp/bare/sys/firmware/acpi/tables",
        )
        .case("snapshot", "ringfence check /root/plain.toml --from /tmp/host.snapshot --opened")
        .case("typed right", "ringfence check /root/right.toml --from /tmp/bare --opened")
        .case("typed wrong", "ringfence check /root/wrong.toml --from /tmp/bare --opened")
        .case("not opened", "ringfence check /root/wrong.toml --from /tmp/bare")
        .case("contradicted", "ringfence check /root/wrong.toml --from /tmp/host.snapshot")
        .case("planned for none", "ringfence check /root/plain.toml --from /tmp/bare --opened")
}

pub(super) fn check(report: &HostReport, function: &Function) -> Result<()> {
    if *function.design != HASWELL {
        return Ok(());
    }
    for case in ["snapshot", "typed right"] {
        let outcome = report.outcome(case)?;
        let said = String::from_utf8_lossy(&outcome.stdout);
        let holds = "the plan holds, and its devices say the same\n";
        ensure!(outcome.status == 0 && said == holds, "{case}: {outcome:?}");
    }
    // Without a look at the device nobody would have known.
    let outcome = report.outcome("not opened")?;
    ensure!(outcome.status == 0, "{outcome:?}");
    for (case, planned) in
        [("typed wrong", WRONG), ("contradicted", WRONG), ("planned for none", "none")]
    {
        let outcome = report.outcome(case)?;
        let said = String::from_utf8_lossy(&outcome.stderr);
        let values = case == "planned for none" || said.contains(RIGHT);
        ensure!(
            outcome.status == 1 && said.contains("RF0725") && said.contains(planned) && values,
            "{case}: {outcome:?}"
        );
    }
    Ok(())
}
