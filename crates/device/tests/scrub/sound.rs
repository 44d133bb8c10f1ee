//! Functions that work: the secret is there, then it is not, and nothing else is different.

use anyhow::{Context, Result, ensure};
use ringfence_lab::graphics::{BAY_TRAIL, PAGE};
use ringfence_lab::{HostMachine, HostReport};

use super::{Design, Function, is_kept, kept, mark, nothing_wrong};

/// What the intruder has to know.
fn layout(design: Design) -> String {
    let encoding = match (design.has_aperture(), design.entry_bytes()) {
        (false, _) => "none",
        (true, 8) => "wide",
        (true, _) if *design == BAY_TRAIL => "bay-trail",
        (true, _) => "haswell",
    };
    let begins = if design.has_aperture() { design.page_table_at } else { 8 << 20 };
    let kept = design
        .kept
        .iter()
        .map(|kept| format!(" {:#x}-{:#x}", kept.offset, kept.offset + kept.bytes - 1));
    let (memory, bytes) = (design.data.get(), design.usable_bytes());
    format!("{encoding} {begins:#x} {memory:#x} {bytes:#x}") + &kept.collect::<String>()
}

pub(super) fn cases(machine: HostMachine, function: &Function) -> HostMachine {
    let (address, layout) = (&function.address, layout(function.design));
    let marked = |mark: u8, command: &str| {
        format!("{command}; status=$?; mark {address} {mark}; exit $status")
    };
    machine
        .case(&function.case("start"), &marked(mark::START, "true"))
        .case(
            &function.case("plant"),
            &marked(mark::PLANTED, &format!("intruder plant {address} {layout}")),
        )
        .case(
            &function.case("search"),
            &marked(mark::SEARCHED, &format!("intruder search {address} {layout}")),
        )
        .case(
            &function.case("dry"),
            &marked(mark::DRY, &format!("ringfence scrub {address} --dry-run --json")),
        )
        .case(
            &function.case("scrub"),
            &marked(mark::SCRUBBED, &format!("ringfence scrub {address} --json")),
        )
        .case(&function.case("search again"), &format!("intruder search {address} {layout}"))
}

pub(super) fn check(report: &HostReport, function: &Function) -> Result<()> {
    let (design, said) = (function.design, |what| report.text(&function.case(what)));
    let at = |mark| function.served.at_mark(mark);
    let pages = (0..design.data_bytes).step_by(PAGE);
    let (keeps, used): (Vec<_>, Vec<_>) = pages.partition(|page| is_kept(design, *page));
    let (count, left) = (used.len(), if design.has_aperture() { 2 } else { 0 });

    // Without a scrub the next tenant finds it all.
    ensure!(said("plant")? == format!("planted {count}\n"), "{}", said("plant")?);
    let found = format!("found {count} of {count}, {left} by what was left\n");
    ensure!(said("search")? == found, "{}", said("search")?);
    let (start, before) = (at(mark::START)?, at(mark::SEARCHED)?);
    nothing_wrong("the tenants", &start, &before)?;

    // Saying what would be done does nothing.
    let dry = at(mark::DRY)?;
    ensure!(dry == before, "a dry run changed something: {}", dry.account.since(&before.account));
    let plan = report.json(&function.case("dry"))?;
    ensure!(plan["functions"][0]["cleared"] == serde_json::json!([]), "{plan:#}");

    let after = at(mark::SCRUBBED)?;
    nothing_wrong("the scrub", &before, &after)?;
    for page in used {
        let is_clear = after.data[page..page + PAGE].iter().all(|byte| *byte == 0);
        ensure!(is_clear, "the page at {page:#x} was not cleared");
    }
    kept(design, &start, &after)?;
    ensure!(after.page_table == before.page_table, "the page table is not as it was");
    ensure!(after.command == before.command, "PCI's command register is not as it was");
    // It tells what it did, no more and no less.
    let told = report.json(&function.case("scrub"))?;
    let cleared = bytes(&told["functions"][0]["cleared"]).context("no spans were cleared")?;
    ensure!(
        cleared == count * PAGE && cleared + keeps.len() * PAGE == design.data_bytes,
        "{told:#}"
    );

    let found = format!("found 0 of {count}, 0 by what was left\n");
    ensure!(said("search again")? == found, "{}", said("search again")?);
    Ok(())
}

/// How many bytes spans have together.
fn bytes(spans: &serde_json::Value) -> Option<usize> {
    let number = |text: &serde_json::Value| {
        usize::from_str_radix(text.as_str()?.strip_prefix("0x")?, 16).ok()
    };
    spans
        .as_array()?
        .iter()
        .map(|span| Some(number(&span["last"])? + 1 - number(&span["first"])?))
        .sum()
}
