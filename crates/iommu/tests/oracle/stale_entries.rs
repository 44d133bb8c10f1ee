//! What an IOMMU remembers: a device goes on reaching what was unmapped until the IOMMU was told.
//!
//! The same steps, twice: as somebody does them who counts memory as free once it is out of the tables,
//! and in the order that the types ask for.

use anyhow::{Result, ensure};
use ringfence_addr::{Hpa, Iova, Rights};
use ringfence_iommu::pages::{AmdV1, Format, Level, VtdSecondStage};
use ringfence_lab::Batch;

use crate::amd::Amd;
use crate::confined::Confined;
use crate::devices::{Reached, write, written};
use crate::machine::{FRAMES, Iommu, Order, TABLES, start};
use crate::model::span_of;
use crate::vtd::Vtd;

pub(crate) fn vtd() -> Result<()> {
    let cap = 0x80d2_008c_222f_0606;
    steps(Vtd, VtdSecondStage::from_registers(cap, 0, Level::FOUR, 39)?)
}

pub(crate) fn amd() -> Result<()> {
    steps(Amd::default(), AmdV1::with_levels(Level::FOUR))
}

fn steps<I: Iommu, F: Format>(iommu: I, format: F) -> Result<()> {
    let mut rig = Confined::check(start::<I>(Order::IommuFirst)?, iommu, format, TABLES[0])?;
    let page = span_of(0x40201, 0x40201);
    let (iova, memory) = (page.first(), Hpa::new(FRAMES.0 << 12));
    let mapped = rig.tables.map(page, memory, Rights::READ_WRITE)?;
    ensure!(mapped.span().is_none(), "what was not there is not remembered");
    ensure!(rig.reaches(iova, memory)? == Reached::There, "what is mapped is reached");
    // With the guard off: out of the tables, and counted as free.
    let stale = rig.tables.unmap(page, |_| ())?;
    ensure!(
        rig.reaches(iova, memory)? == Reached::There,
        "the device still writes to memory that is somebody else's by now"
    );
    // With it on: forgotten, and only then free.
    rig.settle(stale)?;
    ensure!(rig.reaches(iova, memory)? == Reached::Nothing, "what is forgotten is not reached");
    // A right that is taken away is remembered just so (I7).
    let mapped = rig.tables.map(page, memory, Rights::READ_WRITE)?;
    rig.settle(mapped)?;
    ensure!(rig.reaches(iova, memory)? == Reached::There, "it is mapped again");
    let stale = rig.tables.narrow(page, Rights::READ, |_| ())?;
    ensure!(rig.reaches(iova, memory)? == Reached::There, "the right to write is remembered");
    rig.settle(stale)?;
    ensure!(rig.reaches(iova, memory)? == Reached::Nothing, "and forgotten");
    Ok(())
}

impl<I: Iommu, F: Format> Confined<I, F> {
    /// What the device that writes reaches, by the tables as they are.
    fn reaches(&mut self, iova: Iova, memory: Hpa) -> Result<Reached> {
        let mut batch = Batch::new();
        self.tables.memory_mut().send(&mut batch);
        write(&mut batch, iova, memory);
        Ok(written(&self.qemu.run(&mut batch)?))
    }
}
