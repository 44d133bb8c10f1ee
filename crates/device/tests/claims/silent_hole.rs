//! The silent hole: VFIO maps a VM's memory over a region that firmware reserved for its device, `doctor`
//! had said so, and memory mapped as planned keeps away.

use anyhow::{Context, Result, ensure};
use ringfence_addr::{Iova, Span};
use ringfence_lab::{HostMachine, HostReport, binary};
use ringfence_tables::{
    Content, Dmar, Drhd, Header, Rmrr, Scope, ScopeKind, Scopes, Structure, Table,
};

/// A graphics card that no driver of the lab's hosts takes.
const CARD: &str = "0000:00:05.0";
/// What firmware reserved for it: right above the host's 512 MiB, so that nothing of the host's is there.
const REGION: &str = "0x20000000-0x20ffffff";
/// All of the VM's memory, if nobody plans.
const UNPLANNED: &str = "0x0-0x27ffffff";
const MEMORY_BYTES: u128 = 640 << 20;

const VM: &str = "\
[vm]
name = \"desk\"
memory = \"640M\"

[[device]]
kind = \"pci\"
address = \"0000:00:05.0\"
";

/// QEMU's table, as if its firmware had reserved something.
fn table() -> Result<Vec<u8>> {
    let region: Span<Iova> = REGION.parse().ok().context("no region")?;
    // `hw/i386/acpi-build.c`: the one unit, and where its interrupts come from.
    let interrupts = Scope::new(ScopeKind::IoApic, 0xff, &[[0, 0]]);
    let scopes = Scopes { list: vec![interrupts], rest: Vec::new() };
    let unit = Drhd { flags: 1, size: 0, segment: 0, base: 0xfed9_0000, scopes };
    let card =
        Scopes { list: vec![Scope::new(ScopeKind::Endpoint, 0, &[[5, 0]])], rest: Vec::new() };
    let (base, limit) = (region.first().get(), region.last().get());
    let reserved = Rmrr { reserved: 0, segment: 0, base, limit, scopes: card };
    let structures = vec![Structure::Drhd(unit), Structure::Rmrr(reserved)];
    let mut table = Table::new(Header::new(*b"DMAR", 1), Content::Dmar(Dmar::new(48, structures)));
    // The kernel replaces a table by a newer one of the same maker and name; any other it adds.
    (table.header.oem_id, table.header.oem_table_id) = (*b"BOCHS ", *b"BXPC    ");
    table.header.oem_revision = 2;
    table.seal();
    Ok(table.write())
}

/// Adds the card, the table, and what is asked of them.
pub(super) fn with(machine: HostMachine) -> Result<HostMachine> {
    let table = table()?;
    let mapper = "mapper $(basename $(readlink /sys/bus/pci/devices/$CARD/iommu_group))";
    let machine = machine
        .with(|machine| {
            let card = ["-device", "bochs-display,addr=05.0"];
            machine.qemu(card).acpi_table(&table).file("/root/vm.toml", VM)
        })
        .program(&binary("ringfence", "ringfence")?)
        .program(&binary("ringfence-guest", "mapper")?)
        .prepare(&format!("CARD={CARD}"))
        .case("hole claimed", "ringfence claim --watched $CARD")
        .case("hole doctor", "ringfence doctor /root/vm.toml --json")
        .case("hole unplanned", &format!("{mapper} {UNPLANNED}"))
        .case("hole planned", &format!("ringfence plan /root/vm.toml --json | {mapper}"))
        .case("hole released", "ringfence release $CARD");
    Ok(machine)
}

pub(super) fn check(report: &HostReport) -> Result<()> {
    for case in ["hole claimed", "hole released"] {
        let outcome = report.outcome(case)?;
        ensure!(outcome.status == 0, "{case}: {outcome:?}");
    }
    let outcome = report.outcome("hole doctor")?;
    ensure!(outcome.status == 1, "doctor: {outcome:?}");
    let answer: serde_json::Value = serde_json::from_slice(&outcome.stdout)?;
    let mut checks = answer["checks"].as_array().context("no checks")?.iter();
    let silent = checks.find(|one| one["code"] == "RF0440" && one["subject"] == CARD);
    let silent = silent.with_context(|| format!("doctor did not say so: {answer:#}"))?;
    ensure!(silent["status"] == "fail", "{silent}");
    let says = format!("guest memory {REGION} lies on {REGION} direct-relaxable");
    let finding = silent["finding"].as_str().unwrap_or_default();
    ensure!(finding.contains(&says), "{silent}");
    let remedy = silent["remedy"].as_str().unwrap_or_default();
    ensure!(remedy.contains("max-ram-below-4g=512M"), "{silent}");
    // The kernel says nothing against it and does it.
    let region: Span<Iova> = REGION.parse().ok().context("no region")?;
    let (apertures, unplanned) = mapped(report, "hole unplanned")?;
    ensure!(apertures.iter().any(|one| one.encloses(&region)), "{apertures:?}");
    ensure!(unplanned.iter().any(|one| one.encloses(&region)), "{unplanned:?}");
    let (_, planned) = mapped(report, "hole planned")?;
    ensure!(planned.iter().all(|one| !one.overlaps(&region)), "{planned:?}");
    let bytes: u128 = planned.iter().map(Span::length).sum();
    ensure!(bytes == MEMORY_BYTES, "{bytes} bytes were mapped: {planned:?}");
    Ok(())
}

type Spans = Vec<Span<Iova>>;

/// What can be mapped, and what was.
fn mapped(report: &HostReport, case: &str) -> Result<(Spans, Spans)> {
    let text = report.text(case)?;
    let (first, rest) = text.split_once('\n').unwrap_or_default();
    let parse = |span: &str| span.parse().map_err(|_| anyhow::anyhow!("{case}: {text}"));
    let apertures = first.strip_prefix("can be mapped: ").unwrap_or_default().split(", ");
    let mapped = rest.lines().filter_map(|line| line.strip_prefix("mapped "));
    let (apertures, mapped): (Result<_>, Result<_>) =
        (apertures.map(parse).collect(), mapped.map(parse).collect());
    Ok((apertures?, mapped?))
}
