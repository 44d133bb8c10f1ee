//! The account over page tables of our own, of both formats: what the ledger says is mapped is what a walk
//! of the tables finds, and nothing is let go before the IOMMU was told.

use std::sync::{Arc, Mutex};

use ringfence_addr::{Address as _, Gpa, Hpa, Iova, Rights, Span, SpanSet};
use ringfence_iommu::pages::{AmdV1, Arena, Format, Level, PageTables, VtdSecondStage};
use ringfence_iommu::{Account, Invalidate, Journal, Mode, Reached, Switch, Tables};
use ringfence_ledger::{Appears, Phase, Place, Which, Wish};
use ringfence_refusal::{Failure, Fault};

/// An IOMMU that is told, or does not answer.
#[derive(Clone, Debug, Default)]
struct Told {
    spans: Arc<Mutex<Vec<Span<Iova>>>>,
    is_silent: Arc<Mutex<bool>>,
}

impl Invalidate for Told {
    fn invalidate(&mut self, span: Span<Iova>, _concerns_tables: bool) -> Result<(), Fault> {
        if *self.is_silent.lock().expect("no panics") {
            let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Err(Fault::new("wait for", "the IOMMU", error));
        }
        self.spans.lock().expect("no panics").push(span);
        Ok(())
    }
}

impl Switch for Told {
    fn off(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn on(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

const MIB: u64 = 1 << 20;

fn over<F: Format>(format: F) {
    let told = Told::default();
    let arena = Arena::new(Hpa::new(1 << 40), 512).expect("an arena");
    let tables = PageTables::new(format, arena).expect("tables");
    let usable: SpanSet<Iova> = Span::from_parts(Iova::FIRST, 1 << 36).into_iter().collect();
    let domain = Tables::new(tables, told.clone(), usable);
    let mut account = Account::new(Journal::new(1024).expect("a journal"));
    let owner = account.add_owner("red");
    let memory = |first: u64, bytes: u64| Span::from_parts(Gpa::new(first), bytes).expect("a span");
    // Two pieces of host memory behind one of the guest's: a mapping may lie over both.
    account.add_memory(owner, memory(0, 4 * MIB), Hpa::new(64 * MIB), 0).expect("memory");
    account.add_memory(owner, memory(4 * MIB, 4 * MIB), Hpa::new(512 * MIB), MIB).expect("memory");
    let holder = account.add_holder(owner, "nic", Some(Box::new(domain))).expect("confined");
    account.allow(owner, holder, memory(0, 8 * MIB), Rights::READ_WRITE, None).expect("a grant");
    let wish = |first, bytes, at: u64, rights| Wish {
        owner,
        memory: memory(first, bytes),
        rights,
        place: Place::At(Iova::new(at)),
        appears: Appears::Device,
    };
    let wishes =
        [wish(2 * MIB, 4 * MIB, 32 * MIB, Rights::READ_WRITE), wish(0, 4096, 0, Rights::READ)];
    let mapped = account.map(holder, &wishes, Mode::AllOrNothing);
    assert!(mapped.iter().all(Result::is_ok), "{mapped:?}");
    let at =
        |account: &mut Account<Hpa>, address| account.probe(holder, Iova::new(address)).flatten();
    assert_eq!(at(&mut account, 32 * MIB), Some(Rights::READ_WRITE));
    assert_eq!(at(&mut account, 36 * MIB - 1), Some(Rights::READ_WRITE));
    assert_eq!(at(&mut account, 36 * MIB), None);
    assert_eq!(at(&mut account, 0), Some(Rights::READ));

    let which = |entry: usize| Which::Handle(mapped[entry].as_ref().expect("mapped").handle);
    let answers = account.unmap(holder, &[which(0)]);
    assert!(matches!(answers[..], [Ok(Reached::No)]));
    assert_eq!(at(&mut account, 33 * MIB), None);
    let spans = std::mem::take(&mut *told.spans.lock().expect("no panics"));
    let whole = wishes[0].memory.rebase(Iova::new(32 * MIB)).expect("a span");
    assert!(spans.len() == 1 && spans[0].encloses(&whole), "one wait, for all of it: {spans:?}");

    // Invariant `I9`: the IOMMU does not say that it has forgotten. Nothing is let go.
    *told.is_silent.lock().expect("no panics") = true;
    let answers = account.unmap(holder, &[which(1)]);
    assert!(matches!(answers[..], [Ok(Reached::Unknown)]), "{answers:?}");
    let phases: Vec<Phase> = account.ledger().entries().map(|entry| entry.phase).collect();
    assert_eq!(phases, [Phase::Quarantined]);
    assert!(account.holder_died(holder).is_err());
    *told.is_silent.lock().expect("no panics") = false;
    account.holder_died(holder).expect("now it did");
    assert_eq!(account.ledger().entries().count(), 0);
}

#[test]
fn page_tables_of_vtd() {
    over(VtdSecondStage::with_levels(Level::FOUR).expect("VT-d has four levels"));
}

#[test]
fn page_tables_of_amd() {
    over(AmdV1::with_levels(Level::FOUR));
}
