//! A real machine's DMAR or IVRS, replayed: what it reserves is given to a real Linux under QEMU, with
//! functions at the addresses it names, and what the kernel lists is compared with what is predicted.
//!
//! The kernel replaces QEMU's table by one in its initial ramdisk. That one is QEMU's own, with its
//! unit and its devices, followed by what the real one reserves (RMRR, IVMD) or says of functions
//! (ATSR, SATC). A real unit's registers are not there, so units are not replayed.

mod listing;
mod place;
mod tree;
mod verdict;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ringfence_tables::{Block, Content, DeviceEntry, Dmar, Header, Ivrs, Structure, Table};

pub use verdict::Verdict;

use crate::host_machine::{HostMachine, HostReport, IommuKind, Topology};
use crate::root::LabRoot;
use listing::{Listing, MESSAGES, SCRIPT};
use place::Place;

/// The kernel that replays, by its series.
const SERIES: &str = "6.12";

/// Nothing needs as much as 256 MiB.
const MEMORY_MIB: u32 = 256;

/// A boot takes a few seconds, and minutes on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(240);

/// A real table to be replayed.
#[derive(Debug, Clone)]
pub struct Replay {
    name: String,
    real: Table,
    iommu: IommuKind,
    places: Vec<Place>,
    devices: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// What is predicted beside what is listed.
    pub verdict: Verdict,
    /// How many lines of regions were compared, those of interrupts and the like left out.
    pub regions: usize,
    /// What the kernel said about its IOMMU, for people.
    pub messages: Vec<String>,
}

/// QEMU's own tables as booted kernels saw them, by signature.
#[derive(Debug, Default)]
pub struct OwnTables {
    seen: Mutex<BTreeMap<&'static str, Vec<u8>>>,
}

impl Replay {
    /// The replay of a table: a DMAR or an IVRS, checksum right.
    ///
    /// # Errors
    ///
    /// It is neither, or names functions where QEMU can have none.
    pub fn of(name: &str, bytes: &[u8]) -> Result<Self> {
        let (real, _) = Table::read(bytes).map_err(anyhow::Error::new)?;
        let iommu = match real.content {
            Content::Dmar(_) => IommuKind::Intel,
            Content::Ivrs(_) => IommuKind::Amd,
            _ => bail!("{name} is a {}, which nothing here replays", real.header.signature),
        };
        let places = place::places(&real);
        let devices = tree::arguments(&places).with_context(|| name.to_owned())?;
        Ok(Self { name: format!("replay-{name}"), real, iommu, places, devices })
    }

    /// What makes a replay what it is: two that are the same here need not both be run.
    pub fn essence(&self) -> (Vec<String>, Vec<u8>) {
        let content = match &self.real.content {
            Content::Dmar(real) => Content::Dmar(Dmar::new(1, replayed(real))),
            Content::Ivrs(real) => Content::Ivrs(Ivrs::new(0, memory(real))),
            other => other.clone(),
        };
        let header = Header::new(self.real.header.signature.0, 1);
        (self.devices.clone(), Table::new(header, content).write())
    }

    /// Boots the machine with the table and compares.
    pub fn run(&self, lab: &LabRoot, own: &OwnTables) -> Result<Replayed> {
        let table = self.onto(own.get(self.iommu, lab)?)?;
        let signature = table.header.signature;
        let bytes = table.write();
        let report = machine(&self.name, self.iommu, &self.devices)
            .with(|machine| machine.acpi_table(&bytes))
            .case("listing", SCRIPT)
            .case("table", &format!("cat /sys/firmware/acpi/tables/{signature}"))
            .case("messages", MESSAGES)
            .run(lab, PATIENCE)?;
        let used = &report.outcome("table")?.stdout;
        ensure!(*used == bytes, "the kernel did not take the table:\n{}", report.console());
        let listing = Listing::read(report.text("listing")?)?;
        let is_own = |line: &&String| line.contains("direct");
        Ok(Replayed {
            verdict: verdict::compare(&table, &self.places, &listing),
            regions: listing.groups.iter().flat_map(|it| it.lines.iter().filter(is_own)).count(),
            messages: messages(&report)?,
        })
    }

    /// QEMU's own table with what is replayed behind, made anew so that Linux prefers it.
    ///
    /// QEMU names the functions there were when it was asked; this one is for every function, as its
    /// unit is.
    fn onto(&self, mut own: Table) -> Result<Table> {
        match (&mut own.content, &self.real.content) {
            (Content::Dmar(own), Content::Dmar(real)) => {
                for structure in &mut own.structures {
                    if let Structure::Drhd(unit) = structure {
                        unit.flags |= INCLUDE_ALL;
                    }
                }
                own.structures.extend(replayed(real));
            }
            (Content::Ivrs(own), Content::Ivrs(real)) => {
                for block in &mut own.blocks {
                    if let Block::Ivhd(unit) = block {
                        unit.entries.list.insert(0, EVERY_DEVICE);
                    }
                }
                own.blocks.extend(memory(real));
            }
            _ => bail!("QEMU's own table is a {}", own.header.signature),
        }
        own.header.oem_revision = own.header.oem_revision.saturating_add(1);
        own.seal();
        Ok(own)
    }
}

/// Of a remapping unit: it is for all functions that no other unit names.
const INCLUDE_ALL: u8 = 1;
/// The same of an IVRS.
const EVERY_DEVICE: DeviceEntry = DeviceEntry::Short { kind: 1, device: 0, setting: 0 };

fn machine(name: &str, iommu: IommuKind, devices: &[String]) -> HostMachine {
    HostMachine::new(name, SERIES, iommu, &Topology::default())
        .with(|machine| machine.memory_mib(MEMORY_MIB).qemu(devices))
}

fn replayed(real: &Dmar) -> Vec<Structure> {
    real.structures.iter().filter(|it| place::is_replayed(it)).cloned().collect()
}

fn memory(real: &Ivrs) -> Vec<Block> {
    real.blocks.iter().filter(|it| matches!(it, Block::Ivmd(_))).cloned().collect()
}

fn messages(report: &HostReport) -> Result<Vec<String>> {
    Ok(report.text("messages")?.lines().map(str::to_owned).collect())
}

impl OwnTables {
    /// The table QEMU gives a machine with nothing but its IOMMU, asked once.
    ///
    /// # Errors
    ///
    /// The machine does not boot, or has none.
    pub fn get(&self, iommu: IommuKind, lab: &LabRoot) -> Result<Table> {
        let signature = if iommu == IommuKind::Amd { "IVRS" } else { "DMAR" };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains_key(signature) {
            let report = machine(&format!("own-{signature}"), iommu, &[])
                .case("table", &format!("cat /sys/firmware/acpi/tables/{signature}"))
                .run(lab, PATIENCE)?;
            let outcome = report.outcome("table")?;
            ensure!(outcome.status == 0, "QEMU's machine has no {signature}: {outcome:?}");
            seen.insert(signature, outcome.stdout.clone());
        }
        let (table, _) = Table::read(&seen[signature]).map_err(anyhow::Error::new)?;
        Ok(table)
    }
}
