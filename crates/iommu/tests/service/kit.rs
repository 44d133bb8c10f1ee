//! A service with devices that tests look into, and connections to it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use ringfence_addr::{Alignment, Gpa, Iova, Rights, Span, SpanSet};
use ringfence_iommu::service::control::{Reply, WireRights};
use ringfence_iommu::service::{Devices, HolderClient, Opened, OwnerClient, Service};
use ringfence_iommu::{Domain, Journal, Mapped, Memory, Piece};
use ringfence_ledger::{Answer, Appears, Place, Wish};
use ringfence_refusal::Failure;

pub(crate) const PAGE: u64 = 4096;
pub(crate) const MEMORY: u64 = 256 * PAGE;

/// A device that remembers what it reaches, page by page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Device(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    reached: SpanSet<Iova>,
    is_fenced: bool,
    calls: Vec<&'static str>,
}

impl Device {
    /// How many pages it reaches.
    pub(crate) fn reached(&self) -> u128 {
        self.0.lock().expect("no panics").reached.length() / u128::from(PAGE)
    }

    pub(crate) fn take_calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().expect("no panics").calls)
    }
}

struct Domains(Device, SpanSet<Iova>);

impl Domain<Memory> for Domains {
    fn usable(&self) -> &SpanSet<Iova> {
        &self.1
    }

    fn map(&mut self, pieces: &[Piece<Memory>]) -> Vec<Mapped> {
        let mut state = self.0.0.lock().expect("no panics");
        let map = |piece: &Piece<Memory>| {
            assert!(piece.bus.is_aligned(Alignment::PAGE_4K));
            state.reached.insert(piece.bus);
            Mapped::Done
        };
        pieces.iter().map(map).collect()
    }

    fn unmap(&mut self, spans: &[Span<Iova>], answered: &mut dyn FnMut(Span<Iova>, Answer)) {
        let mut state = self.0.0.lock().expect("no panics");
        for span in spans {
            state.reached.remove(*span);
            answered(*span, Answer::Bytes(span.length_u64().expect("a page").get()));
        }
    }

    fn flush(&mut self, _spans: &[Span<Iova>]) -> Result<(), Failure> {
        Ok(())
    }

    fn fence(&mut self) -> Result<(), Failure> {
        let mut state = self.0.0.lock().expect("no panics");
        state.calls.push("fence");
        state.is_fenced = true;
        Ok(())
    }

    fn unfence(&mut self) -> Result<(), Failure> {
        self.0.0.lock().expect("no panics").is_fenced = false;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Failure> {
        let mut state = self.0.0.lock().expect("no panics");
        state.calls.push("clear");
        state.reached = SpanSet::new();
        Ok(())
    }
}

struct Shelf(Device);

impl Devices for Shelf {
    fn open(&mut self, name: &str) -> Result<Opened, Failure> {
        assert_eq!(name, "0000:00:02.0");
        let usable = Span::from_parts(Iova::new(0), 1 << 30).into_iter().collect();
        let domain = Box::new(Domains(self.0.clone(), usable));
        Ok(Opened { domain, descriptors: Vec::new(), kept: Vec::new() })
    }
}

pub(crate) struct Kit {
    pub(crate) service: Arc<Service>,
    pub(crate) device: Device,
}

impl Kit {
    pub(crate) fn new() -> Self {
        let device = Device::default();
        let journal = Journal::new(8192).expect("a journal");
        let service = Service::new(journal, Box::new(Shelf(device.clone())));
        let deadlines = Arc::clone(&service);
        std::thread::spawn(move || deadlines.watch_deadlines());
        Self { service, device }
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let service = Arc::clone(&self.service);
        std::thread::spawn(move || service.serve(&theirs));
        ours
    }

    /// An owner with memory that the holder `nic` may map.
    pub(crate) fn owner(&self, name: &str) -> (OwnerClient, OwnedFd) {
        let (owner, reply) = OwnerClient::new(self.connect(), name).expect("answered");
        assert_eq!(reply, Reply::Done);
        let file = memfd();
        let copy = file.try_clone().expect("a copy");
        assert_eq!(owner.give_memory(memory(0, 256), copy, 0).expect("answered"), Reply::Done);
        assert_eq!(owner.allow("nic", WireRights::ReadWrite).expect("answered"), Reply::Done);
        (owner, file)
    }

    pub(crate) fn holder(&self, owner: &str) -> HolderClient {
        let device = Some("0000:00:02.0");
        HolderClient::new(self.connect(), owner, "nic", device).expect("it is listed").0
    }

    /// Waits until it is so.
    pub(crate) fn expect_soon(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        for _ in 0..500 {
            if is_so() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("not within five seconds: {what}");
    }
}

pub(crate) fn memfd() -> OwnedFd {
    let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
    rustix::fs::ftruncate(&file, MEMORY).expect("long enough");
    file
}

pub(crate) fn memory(first: u64, count: u64) -> Span<Gpa> {
    Span::from_parts(Gpa::new(first * PAGE), count * PAGE).expect("a span")
}

pub(crate) fn wish(holder: &HolderClient, first: u64, count: u64) -> Wish {
    Wish {
        owner: holder.owner(),
        memory: memory(first, count),
        rights: Rights::READ_WRITE,
        place: Place::At(Iova::new(first * PAGE)),
        appears: Appears::Device,
    }
}
