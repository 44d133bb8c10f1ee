//! Which real tables are replayed: of each kind the one that is most of it, none of them twice.

use anyhow::{Context, Result};
use ringfence_lab::harness;
use ringfence_tables::{Content, Ivrs, Rmrr, Table};

/// A kind of table that is interesting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A laptop's or desktop's: both are given up by Linux.
    GraphicsAndUsb,
    /// Graphics memory ends above 2 GiB.
    HighGraphics,
    /// A server's.
    MostRegions,
    /// A region is of more than one device.
    Shared,
    /// Over bridges, or by a bus number.
    OtherBus,
    /// Every function of many buses.
    AmdRange,
    /// A ThinkPad's with graphics below 2 GiB.
    ThinkPad,
    /// A ProLiant's.
    HpServer,
}

const GRAPHICS: [u8; 2] = [2, 0];
const USB: &[u8] = &[0x14, 0x1a, 0x1d];
const TWO_GIB: u64 = 2 << 30;

/// The rarest first: they leave others for the rest.
const ORDER: &[Kind] = &[
    Kind::AmdRange,
    Kind::OtherBus,
    Kind::MostRegions,
    Kind::Shared,
    Kind::HighGraphics,
    Kind::GraphicsAndUsb,
];

/// The name and the bytes of the table that is most of a kind.
pub(crate) fn most(kind: Kind) -> Result<(String, Vec<u8>)> {
    take(&mut tables()?, kind)
}

/// The same, if no table is to be taken for two of the kinds that are replayed.
pub(crate) fn choose(kind: Kind) -> Result<(String, Vec<u8>)> {
    let mut tables = tables()?;
    let place = ORDER.iter().position(|one| *one == kind).context("it is not replayed")?;
    for before in &ORDER[..place] {
        take(&mut tables, *before)?;
    }
    take(&mut tables, kind)
}

fn take(tables: &mut Vec<(String, Vec<u8>, Table)>, kind: Kind) -> Result<(String, Vec<u8>)> {
    let weights = tables.iter().enumerate().map(|(at, (_, _, table))| (weight(kind, table), at));
    // The first of those that are equal.
    let best = weights.max_by_key(|(weight, at)| (*weight, std::cmp::Reverse(*at)));
    let best = best.filter(|(weight, _)| *weight > 0);
    let (_, at) = best.with_context(|| format!("no table is of the kind {kind:?}"))?;
    let (name, bytes, _) = tables.remove(at);
    Ok((name, bytes))
}

/// Every table: name, bytes, and what was read.
fn tables() -> Result<Vec<(String, Vec<u8>, Table)>> {
    let folder = harness::data("acpi")?;
    let mut names = Vec::new();
    for entry in folder.read_dir()? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".bin").map(str::to_owned));
    }
    names.sort();
    let read = |name: String| {
        let bytes = std::fs::read(folder.join(format!("{name}.bin")))?;
        let (table, _) = Table::read(&bytes).map_err(anyhow::Error::new)?;
        Ok((name, bytes, table))
    };
    names.into_iter().map(read).collect()
}

/// How much a table is of a kind; zero if it is not.
fn weight(kind: Kind, table: &Table) -> usize {
    match (&table.content, kind) {
        (Content::Dmar(dmar), kind) => {
            let regions: Vec<&Rmrr> = dmar.rmrrs().map(|(_, rmrr)| rmrr).collect();
            let is_by = |maker: &[u8], model: &[u8]| {
                let header = &table.header;
                header.oem_id.starts_with(maker) && header.oem_table_id.starts_with(model)
            };
            match kind {
                Kind::ThinkPad if !is_by(b"LENOVO", b"TP-") => 0,
                Kind::HpServer if !is_by(b"HP", b"ProLiant") => 0,
                _ => of_dmar(kind, &regions),
            }
        }
        (Content::Ivrs(ivrs), Kind::AmdRange) => of_ivrs(ivrs),
        _ => 0,
    }
}

fn of_dmar(kind: Kind, regions: &[&Rmrr]) -> usize {
    let with = |is: &dyn Fn([u8; 2]) -> bool| {
        regions.iter().filter(|it| on_first_bus(it).any(is)).copied().collect::<Vec<_>>()
    };
    let graphics = with(&|hop| hop == GRAPHICS);
    let is_low = |it: &&Rmrr| it.limit < TWO_GIB;
    let distinct = |it: &&&Rmrr| {
        let mut paths: Vec<_> =
            it.scopes.list.iter().map(|scope| (scope.start_bus, &scope.path)).collect();
        paths.sort();
        paths.dedup();
        paths.len() > 1
    };
    let elsewhere = |it: &&&Rmrr| {
        it.scopes.list.iter().any(|scope| scope.start_bus != 0 || scope.path.len() > 1)
    };
    match kind {
        Kind::GraphicsAndUsb => {
            let has_usb = !with(&|hop| USB.contains(&hop[0])).is_empty();
            usize::from(has_usb && graphics.iter().any(is_low))
        }
        Kind::HighGraphics => usize::from(graphics.iter().any(|it| !is_low(it))),
        Kind::ThinkPad => {
            if graphics.iter().any(is_low) {
                regions.len()
            } else {
                0
            }
        }
        Kind::MostRegions | Kind::HpServer => regions.len(),
        Kind::Shared => regions.iter().filter(distinct).count(),
        Kind::OtherBus => regions.iter().filter(elsewhere).count(),
        Kind::AmdRange => 0,
    }
}

fn on_first_bus(rmrr: &Rmrr) -> impl Iterator<Item = [u8; 2]> {
    let direct = rmrr.scopes.list.iter().filter(|it| it.start_bus == 0 && it.path.len() == 1);
    direct.map(|scope| scope.path[0])
}

fn of_ivrs(ivrs: &Ivrs) -> usize {
    ivrs.ivmds().filter(|(_, it)| it.requesters().is_some_and(|(first, last)| first < last)).count()
}
