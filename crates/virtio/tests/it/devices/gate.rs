//! Two devices that have blocks of the guest's memory mapped, as the ledger sees them.

use std::sync::{Arc, Mutex, MutexGuard};

use ringfence_addr::{Gpa, Rights, Span, SpanSet};
use ringfence_ledger::{
    Answer, Appears, Entry, Handle, Holder, Ledger, Milliseconds, Owner, Place, Released, Which,
    Wish,
};
use ringfence_refusal::Refusal;
use ringfence_virtio::{Holders, LedgerGate};

/// The ledger, and those who are in it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) owner: Owner,
    devices: Arc<Mutex<Devices>>,
}

#[derive(Default)]
struct Devices {
    all: Vec<Holder>,
    /// They let go of nothing at once.
    is_stubborn: bool,
    wanted: Vec<(Holder, Handle)>,
    /// Memory that was let go of since somebody looked.
    released: SpanSet<Gpa>,
}

impl World {
    pub(crate) fn new(memory: Span<Gpa>) -> Self {
        let mut ledger = Ledger::new();
        let owner = ledger.add_owner("the guest");
        ledger.add_memory(owner, memory).expect("memory");
        let mut all = Vec::new();
        for name in ["the disk", "the card"] {
            let holder = ledger.add_holder(owner, name).expect("a holder");
            ledger.set_space(holder, SpanSet::whole()).expect("bus addresses");
            ledger.grant(holder, memory, Rights::READ_WRITE).expect("a grant");
            all.push(holder);
        }
        let devices = Devices { all, ..Devices::default() };
        Self { ledger: Arc::new(Mutex::new(ledger)), owner, devices: Arc::new(Mutex::new(devices)) }
    }

    /// The guest has memory more, which everybody may have mapped.
    pub(crate) fn add(&self, memory: Span<Gpa>) {
        let mut ledger = self.ledger.lock().expect("the ledger");
        ledger.add_memory(self.owner, memory).expect("more memory");
        for holder in &self.devices().all {
            ledger.grant(*holder, memory, Rights::READ_WRITE).expect("a grant");
        }
    }

    /// The guest has memory less, which nobody has mapped any more.
    pub(crate) fn remove(&self, memory: Span<Gpa>) {
        for which in 0..2 {
            self.unmap(which, memory);
        }
        let mut ledger = self.ledger.lock().expect("the ledger");
        ledger.remove_memory(self.owner, memory).expect("it was there");
    }

    pub(crate) fn gate(&self) -> LedgerGate<Self> {
        LedgerGate::new(Arc::clone(&self.ledger), self.owner, self.clone())
    }

    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.devices.lock().expect("devices")
    }

    pub(crate) fn be_stubborn(&self, is_stubborn: bool) {
        self.devices().is_stubborn = is_stubborn;
    }

    pub(crate) fn holder(&self, which: usize) -> Holder {
        self.devices().all[which]
    }

    /// Maps memory for a device, if it may.
    pub(crate) fn map(&self, which: usize, memory: Span<Gpa>) -> bool {
        let holder = self.holder(which);
        map(&mut self.ledger.lock().expect("the ledger"), self.owner, holder, memory).is_ok()
    }

    /// A device gives up by itself what it has mapped of this.
    pub(crate) fn unmap(&self, which: usize, memory: Span<Gpa>) -> Released {
        let holder = self.holder(which);
        let mut ledger = self.ledger.lock().expect("the ledger");
        let its = |entry: &Entry| entry.holder == holder && entry.memory.overlaps(&memory);
        let mapped: Vec<_> = ledger.entries().filter(its).map(|it| (holder, it.handle)).collect();
        let mut devices = self.devices();
        devices.wanted.retain(|wanted| !mapped.contains(wanted));
        unmap(&mut ledger, &mapped, &mut devices.released)
    }

    /// All devices let go of what was wanted back.
    pub(crate) fn give_in(&self) -> Released {
        let mut ledger = self.ledger.lock().expect("the ledger");
        let mut devices = self.devices();
        let wanted = std::mem::take(&mut devices.wanted);
        unmap(&mut ledger, &wanted, &mut devices.released)
    }

    /// What devices were asked for and have not let go of.
    pub(crate) fn wanted(&self) -> SpanSet<Gpa> {
        let ledger = self.ledger.lock().expect("the ledger");
        let devices = self.devices();
        let entries = devices.wanted.iter().filter_map(|(_, handle)| ledger.entry(*handle).ok());
        entries.map(|entry| entry.memory).collect()
    }

    /// Frames that mappings count, each once.
    pub(crate) fn charged(&self) -> u64 {
        let ledger = self.ledger.lock().expect("the ledger");
        ledger.charged_frames(self.owner).expect("the owner")
    }

    /// Memory that devices let go of since this was asked last.
    pub(crate) fn released(&self) -> SpanSet<Gpa> {
        std::mem::take(&mut self.devices().released)
    }

    /// Whether a device has this mapped, in whatever phase.
    pub(crate) fn is_mapped(&self, memory: Span<Gpa>) -> bool {
        !self.ledger.lock().expect("the ledger").is_idle(self.owner, memory)
    }

    /// Whether it is the guest's: something else can be granted of it.
    pub(crate) fn is_guests(&self, memory: Span<Gpa>) -> bool {
        let holder = self.holder(0);
        let mut ledger = self.ledger.lock().expect("the ledger");
        ledger.grant(holder, memory, Rights::READ_WRITE).is_ok()
    }
}

fn map(
    ledger: &mut Ledger,
    owner: Owner,
    holder: Holder,
    memory: Span<Gpa>,
) -> Result<(), Refusal> {
    let (place, appears) = (Place::Chosen, Appears::Device);
    let wish = Wish { owner, memory, rights: Rights::READ_WRITE, place, appears };
    let order = ledger.map(holder, wish)?;
    ledger.mapped(order).expect("it is not fenced");
    Ok(())
}

fn unmap(ledger: &mut Ledger, mapped: &[(Holder, Handle)], memory: &mut SpanSet<Gpa>) -> Released {
    let mut all = Released::default();
    for (holder, handle) in mapped {
        let order = ledger.unmap(*holder, Which::Handle(*handle)).expect("it is mapped");
        let bytes = order.entry().memory.length_u64().expect("a length").get();
        memory.insert(order.entry().memory);
        let removed = ledger.removed(order, Answer::Bytes(bytes)).expect("all of it");
        let (order, _) = ledger.flush(*holder, vec![removed]);
        let flushed = ledger.flushed(order);
        let released = ledger.release(flushed);
        all.gone.extend(released.gone);
        all.retired.extend(released.retired);
    }
    all
}

impl Holders for World {
    fn name(&self, holder: Holder) -> String {
        let names = ["the disk", "the card"];
        let place = self.devices().all.iter().position(|it| *it == holder).expect("known");
        names[place].to_owned()
    }

    fn let_go(&mut self, ledger: &mut Ledger, wanted: &[Entry]) -> Released {
        let mut devices = self.devices();
        let wanted: Vec<_> = wanted.iter().map(|it| (it.holder, it.handle)).collect();
        if devices.is_stubborn {
            devices.wanted.extend(wanted);
            return Released::default();
        }
        unmap(ledger, &wanted, &mut devices.released)
    }

    fn map_again(&mut self, ledger: &mut Ledger, mappings: &[Entry]) -> Result<(), Refusal> {
        mappings.iter().try_for_each(|it| map(ledger, self.owner, it.holder, it.memory))
    }

    fn deadline(&self) -> Milliseconds {
        Milliseconds::MAX
    }
}
