//! Mapping and unmapping in batches across a socket: what asking somebody else costs, beside asking in this
//! process, and what one at a time costs beside batches.
//!
//! Everything is checked, counted, written to the journal, told to a back end that does nothing, and
//! released; the two ends of the socket are two threads.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use ringfence_addr::{Gpa, Iova, Rights, Span, SpanSet};
use ringfence_iommu::service::control::{Reply, WireRights};
use ringfence_iommu::service::{Devices, HolderClient, Opened, OwnerClient, Service, batch};
use ringfence_iommu::{Account, Domain, Journal, Mapped, Memory, Mode, Piece};
use ringfence_ledger::{Answer, Appears, FRAME_BYTES, Holder, Owner, Place, Which, Wish};
use ringfence_refusal::Failure;

use crate::report::Row;
use crate::settings::Settings;

/// Pages of the VM, each mapped by itself.
const PAGES: u64 = 1 << 14;
const BATCH: usize = 256;
const TURN: Duration = Duration::from_millis(800);

/// A back end that costs nothing.
struct Nothing(SpanSet<Iova>);

impl Nothing {
    fn new() -> Result<Self> {
        Ok(Self(Span::from_parts(Iova::new(0), 1 << 40).context("no span")?.into()))
    }
}

impl Domain<Memory> for Nothing {
    fn usable(&self) -> &SpanSet<Iova> {
        &self.0
    }

    fn map(&mut self, pieces: &[Piece<Memory>]) -> Vec<Mapped> {
        pieces.iter().map(|_| Mapped::Done).collect()
    }

    fn unmap(&mut self, spans: &[Span<Iova>], answered: &mut dyn FnMut(Span<Iova>, Answer)) {
        for span in spans {
            answered(*span, Answer::Bytes(span.length_u64().map_or(0, std::num::NonZeroU64::get)));
        }
    }

    fn flush(&mut self, _: &[Span<Iova>]) -> Result<(), Failure> {
        Ok(())
    }

    fn fence(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn unfence(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

struct OfNothing;

impl Devices for OfNothing {
    fn open(&mut self, _: &str) -> Result<Opened, Failure> {
        let domain = Nothing::new().map_err(|error| {
            ringfence_refusal::Fault::new("make", "a device", std::io::Error::other(error))
        })?;
        let (descriptors, kept) = (Vec::new(), Vec::new());
        Ok(Opened { domain: Box::new(domain), descriptors, kept })
    }
}

/// Somebody who maps a batch and unmaps it again.
trait Mapper {
    fn pair(&mut self, wishes: &[Wish]) -> Result<()>;
    fn owner(&self) -> Owner;
}

struct Here(Account<Memory>, Owner, Holder);

struct There {
    holder: HolderClient,
    _owner: OwnerClient,
}

fn failed(failure: Failure) -> anyhow::Error {
    anyhow!("{failure}")
}

fn all() -> Result<Span<Gpa>> {
    Span::from_parts(Gpa::new(0), PAGES * FRAME_BYTES).context("no span")
}

impl Here {
    fn new() -> Result<Self> {
        let mut account = Account::new(Journal::new(1 << 16).map_err(failed)?);
        let owner = account.add_owner("a VM");
        let bytes = usize::try_from(PAGES * FRAME_BYTES)?;
        let refused = |refusal: ringfence_refusal::Refusal| anyhow!("{refusal}");
        account.add_memory(owner, all()?, Memory::new(bytes)?, 0).map_err(refused)?;
        let domain = Box::new(Nothing::new()?);
        let holder = account.add_holder(owner, "a device", Some(domain)).map_err(refused)?;
        account.allow(owner, holder, all()?, Rights::READ_WRITE, None).map_err(refused)?;
        Ok(Self(account, owner, holder))
    }
}

impl Mapper for Here {
    fn pair(&mut self, wishes: &[Wish]) -> Result<()> {
        let answers = self.0.map(self.2, wishes, Mode::AllOrNothing);
        let handles: Result<Vec<_>> = answers
            .into_iter()
            .map(|answer| Ok(Which::Handle(answer.map_err(failed)?.handle)))
            .collect();
        let unmapped = self.0.unmap(self.2, &handles?);
        ensure!(unmapped.iter().all(Result::is_ok), "not unmapped");
        Ok(())
    }

    fn owner(&self) -> Owner {
        self.1
    }
}

impl There {
    fn new() -> Result<Self> {
        let journal = Journal::new(1 << 16).map_err(failed)?;
        let service = Service::new(journal, Box::new(OfNothing));
        let connect = || {
            let (ours, theirs) = UnixStream::pair()?;
            let service = std::sync::Arc::clone(&service);
            std::thread::spawn(move || service.serve(&theirs));
            anyhow::Ok(ours)
        };
        let (owner, _) = OwnerClient::new(connect()?, "vm").map_err(failed)?;
        let file = rustix::fs::memfd_create("bench", rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, PAGES * FRAME_BYTES)?;
        let given = owner.give_memory(all()?, file, 0).map_err(failed)?;
        let allowed = owner.allow("nic", WireRights::ReadWrite).map_err(failed)?;
        ensure!((&given, &allowed) == (&Reply::Done, &Reply::Done), "{given:?}, {allowed:?}");
        let (holder, _) = HolderClient::new(connect()?, "vm", "nic", Some("it")).map_err(failed)?;
        Ok(Self { holder, _owner: owner })
    }
}

impl Mapper for There {
    fn pair(&mut self, wishes: &[Wish]) -> Result<()> {
        let answers = self.holder.map(wishes, Mode::AllOrNothing).map_err(failed)?;
        let handles: Result<Vec<_>> = answers
            .into_iter()
            .map(|answer| match answer {
                batch::Answer::Mapped(handle, _) => Ok(Which::Handle(handle)),
                other => Err(anyhow!("{other:?}")),
            })
            .collect();
        let unmapped = self.holder.unmap(&handles?).map_err(failed)?;
        let is_done = |answer: &batch::Answer| matches!(answer, batch::Answer::Unmapped(_));
        ensure!(unmapped.iter().all(is_done), "not unmapped");
        Ok(())
    }

    fn owner(&self) -> Owner {
        self.holder.owner()
    }
}

/// Pairs a second, in thousands.
fn rate(mapper: &mut dyn Mapper, batch: usize, turn: Duration) -> Result<f64> {
    let owner = mapper.owner();
    let (began, mut pairs, mut page) = (Instant::now(), 0_u32, 0);
    let mut wishes = Vec::with_capacity(batch);
    while began.elapsed() < turn {
        wishes.clear();
        for _ in 0..batch {
            // Every page in turn, none beside the one before it.
            page = (page + 4097) % PAGES;
            let first = Gpa::new(page * FRAME_BYTES);
            let memory = Span::from_parts(first, FRAME_BYTES).context("no span")?;
            let (rights, appears) = (Rights::READ_WRITE, Appears::Device);
            wishes.push(Wish { owner, memory, rights, place: Place::Chosen, appears });
        }
        mapper.pair(&wishes)?;
        pairs += u32::try_from(batch)?;
    }
    Ok(f64::from(pairs) / began.elapsed().as_secs_f64() / 1000.0)
}

pub(crate) fn run(settings: &Settings) -> Result<Vec<Row>> {
    let turn = if settings.quick { TURN / 4 } else { TURN };
    let (mut here, mut there) = (Here::new()?, There::new()?);
    let (mut in_process, mut batches, mut single) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..settings.rounds {
        settings.stop_if_asked()?;
        eprintln!("batches: round {} of {}", round + 1, settings.rounds);
        in_process.push(rate(&mut here, BATCH, turn)?);
        batches.push(rate(&mut there, BATCH, turn)?);
        single.push(rate(&mut there, 1, turn)?);
    }
    let unit = "1000 pairs/s";
    let name = |what: &str| format!("map and unmap, {what}");
    Ok(vec![
        Row::new(
            name("256 at a time across a socket"),
            unit,
            &batches,
            ("in this process", &in_process),
            None,
        ),
        Row::new(
            name("256 at a time across a socket"),
            unit,
            &batches,
            ("one at a time across it", &single),
            None,
        ),
    ])
}
