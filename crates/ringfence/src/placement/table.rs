//! A plan for people: the map, then what became of each region, then what remains at risk.

use std::num::NonZeroU64;

use anstyle::Style;
use comfy_table::{Cell, CellAlignment, Table, presets};
use ringfence_plan::{PlacedWindow, Plan};

use crate::size::Bytes;
use crate::talk;

const STRONG: Style = Style::new().bold();

pub(crate) fn table(plan: &Plan) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["GUEST MEMORY", "SIZE", "USE", "WHY"]);
    for entry in &plan.map {
        let size = entry.span.length_u64().map_or(u64::MAX, NonZeroU64::get);
        table.add_row([
            Cell::new(entry.span),
            Cell::new(Bytes(size)).set_alignment(CellAlignment::Right),
            Cell::new(entry.usage),
            Cell::new(talk::printable(&entry.reason)),
        ]);
    }
    let mut text = format!("{}\n", table.trim_fmt());
    if !plan.settlements.is_empty() {
        text.push_str(&format!("\n{STRONG}What firmware and the host set apart{STRONG:#}\n"));
    }
    for settlement in &plan.settlements {
        let cases: Vec<_> =
            settlement.cases.iter().map(|case| format!("{case}, {}", case.words())).collect();
        text.push_str(&format!(
            "  {} {} becomes {} ({})\n",
            settlement.span,
            settlement.kind,
            settlement.becomes,
            cases.join("; "),
        ));
    }
    if let Some(told) = plan.viommu.as_ref().filter(|told| !told.regions.is_empty()) {
        let title = format!("What the guest's {} is told", told.kind);
        text.push_str(&format!("\n{STRONG}{title}{STRONG:#}\n"));
        for region in &told.regions {
            let devices: Vec<_> = region.devices.iter().map(ToString::to_string).collect();
            text.push_str(&format!("  {} of {} in the guest\n", region.span, devices.join(", ")));
        }
    }
    if !plan.windows.is_empty() {
        text.push_str(&format!("\n{STRONG}Windows in the guest's memory{STRONG:#}\n"));
    }
    for window in &plan.windows {
        let PlacedWindow { name, span, guest } = window;
        text.push_str(&format!("  {span} of {name}, {guest} in the guest\n"));
    }
    if !plan.risks.is_empty() {
        text.push_str(&format!("\n{STRONG}What remains at risk{STRONG:#}\n"));
    }
    for risk in &plan.risks {
        text.push_str(&format!("  {}: {}\n", risk.case, talk::printable(&risk.text)));
    }
    text
}
