//! I26: a device counts as confined only once it was seen to be.

use anyhow::{Result, bail, ensure};
use ringfence_addr::{Hpa, Iova};
use ringfence_iommu::pages::{AmdV1, Format, Level, PageTables, VtdSecondStage};
use ringfence_lab::{Batch, Qtest};

use crate::amd::Amd;
use crate::devices::{Reached, WRITE_ANSWERS, write, written};
use crate::guest_memory::GuestMemory;
use crate::machine::{FRAMES, Iommu, Order, TABLES, start};
use crate::vtd::Vtd;

/// A machine whose devices reach what our tables say, which was tried.
pub(crate) struct Confined<I, F> {
    pub(crate) qemu: Qtest,
    pub(crate) iommu: I,
    pub(crate) tables: PageTables<F, GuestMemory>,
}

impl<I: Iommu, F: Format> Confined<I, F> {
    /// Attaches empty tables, and lets a device try an address that would lead to memory if nothing
    /// translated it. The tables are from `first` on.
    pub(crate) fn check(qemu: Qtest, iommu: I, format: F, first: Hpa) -> Result<Self> {
        let tables = PageTables::new(format, GuestMemory::at(first)).unwrap();
        let mut unchecked = Self { qemu, iommu, tables };
        let mut batch = Batch::new();
        let levels = unchecked.tables.format().shape().top;
        unchecked.iommu.attach(&mut batch, unchecked.tables.root(), levels);
        let answers = unchecked.qemu.run(&mut batch)?;
        ensure!(unchecked.iommu.has_done(&answers), "the IOMMU does not answer: {answers:x?}");
        let canary = FRAMES.0 << 12;
        write(&mut batch, Iova::new(canary), Hpa::new(canary));
        let answers = unchecked.qemu.run(&mut batch)?;
        ensure!(answers.len() == WRITE_ANSWERS, "a write has answers");
        match written(&answers) {
            Reached::Nothing => Ok(unchecked),
            reached => bail!("not confined: it reached {reached:?} through empty tables"),
        }
    }
}

/// A device that was made before the IOMMU goes on as if there were none, while every register says
/// that all is well.
pub(crate) fn is_checked() -> Result<()> {
    fn found_out<I: Iommu + Default, F: Format>(format: F) -> Result<()> {
        let checked =
            |order| Confined::check(start::<I>(order)?, I::default(), format.clone(), TABLES[0]);
        let refused = checked(Order::DevicesFirst).err().map(|error| error.to_string());
        let expected = "not confined: it reached There through empty tables";
        ensure!(refused.as_deref() == Some(expected), "{}: {refused:?}", I::DEVICE);
        checked(Order::IommuFirst).map(drop)
    }
    let cap = 0x80d2_008c_222f_0606;
    found_out::<Vtd, _>(VtdSecondStage::from_registers(cap, 0, Level::FOUR, 39)?)?;
    found_out::<Amd, _>(AmdV1::with_levels(Level::FOUR))
}
