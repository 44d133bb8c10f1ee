//! Hardware that is broken in one way each: whatever it is, memory that was not cleared is not called clear.

use anyhow::{Result, ensure};
use ringfence_lab::graphics::{Defect, SKYLAKE_WITH_LITTLE, TIGER_LAKE};
use ringfence_lab::{HostMachine, HostReport};

use super::{Design, Function, kept, mark};

/// What is broken about which design, and what is to be said of it.
pub(super) const HARDWARE: &[(Design, Defect, &str)] = &[
    (&SKYLAKE_WITH_LITTLE, Defect::EntriesLockAfter(0), "RF0723"),
    (&SKYLAKE_WITH_LITTLE, Defect::EntriesLockAfter(20), "RF0724"),
    (&SKYLAKE_WITH_LITTLE, Defect::EntriesDoNotReturn, "RF0724"),
    (&SKYLAKE_WITH_LITTLE, Defect::FlushIgnored, "RF0723"),
    (&SKYLAKE_WITH_LITTLE, Defect::BitStuck { offset: 0x8765 }, "RF0723"),
    (&SKYLAKE_WITH_LITTLE, Defect::Translated, "RF0723"),
    (&SKYLAKE_WITH_LITTLE, Defect::FirmwareOutside, "RF0722"),
    (&SKYLAKE_WITH_LITTLE, Defect::Dead, "RF0722"),
    (&TIGER_LAKE, Defect::Smaller, "RF0722"),
    (&TIGER_LAKE, Defect::ControlDisagrees, "RF0722"),
    (&TIGER_LAKE, Defect::DataDisagrees, "RF0722"),
];

pub(super) fn cases(machine: HostMachine, function: &Function) -> HostMachine {
    let address = &function.address;
    machine.case(
        &function.case("scrub"),
        &format!(
            "mark {address} {}; ringfence scrub {address} --json; status=$?
             mark {address} {}; exit $status",
            mark::START,
            mark::SCRUBBED
        ),
    )
}

pub(super) fn check(report: &HostReport, function: &Function, defect: Defect) -> Result<()> {
    let outcome = report.outcome(&function.case("scrub"))?;
    let (_, _, code) =
        HARDWARE.iter().find(|(_, known, _)| *known == defect).expect("it is of these");
    ensure!(outcome.status == 1, "{outcome:?}");
    let said = String::from_utf8_lossy(&outcome.stderr);
    ensure!(said.contains(&format!("error: {code} ")), "{outcome:?}");
    ensure!(said.contains(&function.address), "it does not say which function: {outcome:?}");
    let told = String::from_utf8_lossy(&outcome.stdout);
    ensure!(!told.contains("\"cleared\""), "{outcome:?}");

    let (before, after) =
        (function.served.at_mark(mark::START)?, function.served.at_mark(mark::SCRUBBED)?);
    ensure!(after.foreign.is_empty(), "memory of others was written: {}", after.account);
    ensure!(after.command == before.command, "PCI's command register is not as it was");
    kept(function.design, &before, &after)?;
    let is_locked = matches!(defect, Defect::EntriesLockAfter(1..) | Defect::EntriesDoNotReturn);
    ensure!(is_locked || after.page_table == before.page_table, "the page table is not as it was");
    if *code == "RF0722" {
        let account = after.account.since(&before.account);
        ensure!(
            after.data == before.data,
            "something was cleared before it was refused: {account}"
        );
    }
    Ok(())
}
