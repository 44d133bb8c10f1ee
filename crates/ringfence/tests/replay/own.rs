//! What is told to guests of QEMU's IOMMUs is what QEMU itself tells: replacing its table changes
//! nothing but the regions, and that every function is named at once.

use std::num::NonZeroU64;

use anyhow::{Context, Result, ensure};
use ringfence_lab::{IommuKind, root};
use ringfence_plan::emit::{Consumer, Surroundings, emit};
use ringfence_plan::{GuestRegion, Machine, Request, Viommu, plan};
use ringfence_tables::dmar::ScopeKind;
use ringfence_tables::{Content, DeviceEntry, Header, Table};

use crate::OWN;

pub(crate) fn units_are_qemus() -> Result<()> {
    let lab = root()?;
    let own = OWN.get(IommuKind::Intel, &lab)?;
    ensure!(units(&own)? == units(&told(Viommu::Intel)?)?, "{own:#?}");
    let own = OWN.get(IommuKind::Amd, &lab)?;
    ensure!(units(&own)? == units(&told(Viommu::Amd)?)?, "{own:#?}");
    Ok(())
}

/// The table for a guest with some region.
fn told(viommu: Viommu) -> Result<Table> {
    let memory = NonZeroU64::new(1 << 30).context("no memory")?;
    let request = Request { viommu: Some(viommu), ..Request::new(memory, Machine::Q35) };
    let mut plan = plan(&[], &request).map_err(|refusals| anyhow::anyhow!("{refusals:?}"))?;
    let told = plan.viommu.as_mut().context("it has no IOMMU")?;
    let span = "0x10000000-0x1000ffff".parse().map_err(anyhow::Error::new)?;
    let devices = ["0000:00:04.0".parse()?].into();
    told.regions.push(GuestRegion { span, devices, used: true });
    let told = emit(&plan, Surroundings::default(), Consumer::Acpi).map_err(anyhow::Error::new)?;
    let file = told.files.iter().find(|file| file.name.ends_with(".aml"));
    Ok(Table::read(&file.context("there is no table")?.bytes).map_err(anyhow::Error::new)?.0)
}

/// What of a table does not depend on which functions there are, and where the IOMMU's own is: that
/// QEMU chooses, unless it is told to, as a plan tells it.
fn units(table: &Table) -> Result<String> {
    let Header { revision, oem_id, oem_table_id, creator_id, creator_revision, .. } = table.header;
    let header =
        format!("{revision} {oem_id:x?} {oem_table_id:x?} {creator_id:x?} {creator_revision}");
    let units = match &table.content {
        Content::Dmar(dmar) => {
            let units = dmar.drhds().map(|(_, unit)| {
                let scopes = unit.scopes.list.iter();
                let chips: Vec<_> = scopes.filter(|it| it.kind != ScopeKind::Endpoint).collect();
                format!("{:#x} {} {} {chips:?}", unit.base, unit.segment, unit.size)
            });
            format!("{} {} {:?}", dmar.width, dmar.flags, units.collect::<Vec<_>>())
        }
        Content::Ivrs(ivrs) => {
            let units = ivrs.ivhds().map(|(_, unit)| {
                let entries = unit.entries.list.iter();
                let chips: Vec<_> =
                    entries.filter(|it| matches!(it, DeviceEntry::Special { .. })).collect();
                let mut unit = unit.clone();
                (unit.device, unit.entries.list) = (0, Vec::new());
                format!("{unit:?} {chips:?}")
            });
            format!("{:#x} {:?}", ivrs.info, units.collect::<Vec<_>>())
        }
        _ => anyhow::bail!("a {} has no units", table.header.signature),
    };
    Ok(header + &units)
}
