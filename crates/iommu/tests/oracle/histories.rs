//! Random histories: after every step devices reach what the model says, and nothing else.

use anyhow::{Context, Result, bail, ensure};
use ringfence_addr::{Address, Hpa, Iova, Rights, Span};
use ringfence_iommu::pages::{AmdV1, Format, Leaf, Level, Stale, VtdSecondStage};
use ringfence_lab::{Batch, Qtest, tier};
use ringfence_refusal::Refusal;

use crate::amd::{Amd, FEATURES};
use crate::confined::Confined;
use crate::devices::{READ_ANSWERS, Reached, WRITE_ANSWERS, place, read, was_read, write, written};
use crate::machine::{FRAMES, Iommu, Order, TABLES, start};
use crate::model::{Model, Operation, Places, span_of};
use crate::random::Random;
use crate::vtd::{CAPABILITIES, EXTENDED_CAPABILITIES, Vtd};

/// How many accesses are tried for each IOMMU.
const CHECKS: u32 = 10_000;
const CHECKS_LONG: u32 = 1_000_000;
/// So many after each step; and one of so many is a read.
const AFTER_EACH: u32 = 10;
const READS: u64 = 8;

/// What is said when a device reached something else than the model says.
const OTHERWISE: &str = "not as the model says";

/// Where the device that reads puts what it read: always mapped, apart from everything else.
const OUTBOX: Iova = Iova::new(0x20_0000_0000);
const SEEN: Hpa = Hpa::new(0x0180_0000);

pub(crate) fn vtd() -> Result<()> {
    let mut qemu = start::<Vtd>(Order::IommuFirst)?;
    let mut batch = Batch::new();
    batch.read_u64(CAPABILITIES);
    batch.read_u64(EXTENDED_CAPABILITIES);
    let [cap, ecap] = qemu.run(&mut batch)?.try_into().ok().context("two registers")?;
    let of = |levels| VtdSecondStage::from_registers(cap, ecap, levels, 39);
    let (four, three) = (of(Level::FOUR)?, of(Level::THREE)?);
    let checks = tier::choose(CHECKS, CHECKS_LONG) / 2;
    let (qemu, iommu) = history(qemu, Vtd, four, TABLES[0], checks)?;
    history(qemu, iommu, three, TABLES[1], checks).map(drop)
}

pub(crate) fn amd() -> Result<()> {
    let mut qemu = start::<Amd>(Order::IommuFirst)?;
    let mut batch = Batch::new();
    batch.read_u64(FEATURES);
    let [features] = qemu.run(&mut batch)?.try_into().ok().context("one register")?;
    let of = |levels| AmdV1::from_features(features, false, levels, 48);
    let (four, six) = (of(Level::FOUR)?, of(Level::SIX)?);
    let checks = tier::choose(CHECKS, CHECKS_LONG) / 2;
    let (qemu, iommu) = history(qemu, Amd::default(), four, TABLES[0], checks)?;
    history(qemu, iommu, six, TABLES[1], checks).map(drop)
}

/// An IOMMU that is never told: the guard of invalidating, switched off.
#[derive(Debug, Default)]
struct NeverTold<I>(I);

impl<I: Iommu> Iommu for NeverTold<I> {
    const DEVICE: &'static str = I::DEVICE;

    fn attach(&mut self, batch: &mut Batch, root: Hpa, levels: Level) {
        self.0.attach(batch, root, levels);
    }

    fn invalidate(&mut self, _: &mut Batch, _: Span<Iova>) {}

    fn has_done(&self, answers: &[u64]) -> bool {
        answers.is_empty() || self.0.has_done(answers)
    }
}

/// I7: a history in which nothing is invalidated does not come to its end.
pub(crate) fn without_invalidation() -> Result<()> {
    fn found_out<I: Iommu + Default>(format: impl Format) -> Result<()> {
        let qemu = start::<I>(Order::IommuFirst)?;
        let never_told = NeverTold(I::default());
        match history(qemu, never_told, format, TABLES[0], CHECKS) {
            Ok(_) => bail!("{}: nobody saw that nothing was invalidated", I::DEVICE),
            Err(error) if format!("{error:#}").contains(OTHERWISE) => Ok(()),
            Err(error) => Err(error),
        }
    }
    found_out::<Vtd>(VtdSecondStage::from_registers(0x80d2_008c_222f_0606, 0, Level::FOUR, 39)?)?;
    found_out::<Amd>(AmdV1::with_levels(Level::FOUR))
}

/// Steps until so many accesses were tried.
fn history<I: Iommu, F: Format>(
    qemu: Qtest,
    iommu: I,
    format: F,
    first: Hpa,
    checks: u32,
) -> Result<(Qtest, I)> {
    let seed = tier::seed()?;
    let levels = format.shape().top;
    let mut rig = Confined::check(qemu, iommu, format, first)?;
    let outbox = rig.tables.map(span_at(OUTBOX), SEEN, Rights::READ_WRITE)?;
    rig.settle(outbox)?;
    let mut places = Places::of(rig.tables.format().shape());
    places.frames = FRAMES;
    places.rarely = 16;
    let (mut model, mut random) = (Model::default(), Random::new(seed));
    let (mut there, mut nothing) = (0, 0);
    while there + nothing < checks {
        let operation = places.operation(&mut random);
        let said = format!("RINGFENCE_SEED={seed}, {levels} levels: {operation:x?}");
        match rig.ask(operation) {
            Ok(stale) => {
                model.apply(operation);
                rig.settle(stale).context(said.clone())?;
            }
            Err(refusal) => {
                ensure!(model.refuses(operation) == Some(refusal.code()), "{said}: {refusal}");
            }
        }
        let (reached, not) = rig.probe(&model, &places, operation, &mut random).context(said)?;
        there += reached;
        nothing += not;
    }
    println!("{}, {levels} levels: {there} accesses reached, {nothing} did not", I::DEVICE);
    ensure!(there > checks / 5 && nothing > checks / 5, "{there} reached, {nothing} did not");
    Ok((rig.qemu, rig.iommu))
}

fn span_at(page: Iova) -> Span<Iova> {
    span_of(page.get() >> 12, page.get() >> 12)
}

impl<I: Iommu, F: Format> Confined<I, F> {
    fn ask(&mut self, operation: Operation) -> Result<Stale, Refusal> {
        let ignore = |_: Leaf| ();
        match operation {
            Operation::Map(span, to, rights) => self.tables.map(span, to, rights),
            Operation::Unmap(span) => self.tables.unmap(span, ignore),
            Operation::Clear(span) => self.tables.clear(span, ignore),
            Operation::Narrow(span, rights) => self.tables.narrow(span, rights, ignore),
        }
    }

    /// Sends the tables, has the IOMMU forget what is stale, and gives the tables back.
    pub(crate) fn settle(&mut self, stale: Stale) -> Result<()> {
        let Self { qemu, iommu, tables } = self;
        let mut batch = Batch::new();
        tables.memory_mut().send(&mut batch);
        let flushed = stale.flush(|span| {
            iommu.invalidate(&mut batch, span);
            let answers = qemu.run(&mut batch)?;
            ensure!(iommu.has_done(&answers), "the IOMMU has not done it: {answers:x?}");
            Ok(())
        });
        tables.release(flushed.map_err(|(_, error)| error)?);
        qemu.run(&mut batch).map(drop)
    }

    /// Lets the devices try addresses in and around what an operation named; how many were reached
    /// and how many were not, all as the model says.
    fn probe(
        &mut self,
        model: &Model,
        places: &Places,
        operation: Operation,
        random: &mut Random,
    ) -> Result<(u32, u32)> {
        let mut batch = Batch::new();
        let mut expected = Vec::new();
        for which in 0..AFTER_EACH {
            let page = self.choose(model, places, operation, which, random);
            let Some(page) = page.filter(|page| page.get() >> 12 != OUTBOX.get() >> 12) else {
                continue;
            };
            let (found, rights) = model.at(page).unzip();
            let frame = found.unwrap_or(Hpa::new(FRAMES.0 << 12));
            // Pages of 1 GiB reach over all memory; what our tables are in is not written to.
            if !(FRAMES.0..FRAMES.1).contains(&(frame.get() >> 12)) {
                continue;
            }
            let (iova, frame) = place(page, frame, random.below(0xff0) & !7);
            let is_read = random.once_in(READS);
            let needed = if is_read { Rights::READ } else { Rights::WRITE };
            let is_allowed = rights.unwrap_or(Rights::NONE).allows(needed);
            let wanted = if is_allowed { Reached::There } else { Reached::Nothing };
            if is_read {
                read(&mut batch, iova, frame, OUTBOX, SEEN);
            } else {
                write(&mut batch, iova, frame);
            }
            expected.push((iova, is_read, wanted));
        }
        let answers = self.qemu.run(&mut batch)?;
        let mut rest = answers.as_slice();
        let mut counts = (0, 0);
        for (iova, is_read, wanted) in expected {
            let length = if is_read { READ_ANSWERS } else { WRITE_ANSWERS };
            let Some((answer, behind)) = rest.split_at_checked(length) else {
                bail!("QEMU answered {answers:x?}");
            };
            rest = behind;
            let reached = if is_read { was_read(answer) } else { written(answer) };
            let what = if is_read { "a read" } else { "a write" };
            ensure!(
                reached == wanted,
                "{OTHERWISE}: {what} at {iova}: {reached:?}, not {wanted:?}; {answer:x?}"
            );
            match wanted {
                Reached::There => counts.0 += 1,
                _ => counts.1 += 1,
            }
        }
        Ok(counts)
    }

    /// Pages at the edges of what was named, in it, beside it, anywhere, and where anything is mapped.
    fn choose(
        &self,
        model: &Model,
        places: &Places,
        operation: Operation,
        which: u32,
        random: &mut Random,
    ) -> Option<Iova> {
        let (Operation::Map(span, ..)
        | Operation::Unmap(span)
        | Operation::Clear(span)
        | Operation::Narrow(span, _)) = operation;
        let within = |span: Span<Iova>, random: &mut Random| {
            let pages = u64::try_from(span.length() >> 12).unwrap();
            span.first().checked_add(random.below(pages) << 12)
        };
        let input = self.tables.format().shape().input;
        match which {
            0 => Some(span.first()),
            1 => span.last().checked_sub(0xfff),
            2 => span.first().checked_sub(0x1000),
            3 => span.last().checked_add(1).filter(|next| input.contains(*next)),
            4 => within(span, random),
            _ => {
                let (first, pages) = random.pick(&places.stretches);
                let anywhere = within(span_of(first, first + pages - 1), random)?;
                let mapped = model.pages.range(anywhere.get() >> 12..).next();
                match mapped {
                    Some((page, _)) if which > 5 => Some(Iova::new(page << 12)),
                    _ => Some(anywhere),
                }
            }
        }
    }
}
