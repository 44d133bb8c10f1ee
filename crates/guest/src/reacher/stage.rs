//! What every scene begins with: two devices held, each with a domain, and memory of a guest's.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ringfence_addr::{Address, Iova, PciAddress, Rights, Span};
use ringfence_device::{Held, Hold, HostWriter, Manager, Opened, RUN_FOLDER, Root, Store};
use ringfence_iommu::{Domain, Iommufd, IommufdDevice, IommufdDomain, Mapped, Memory, Piece};
use ringfence_ledger::Answer;
use ringfence_refusal::{Failure, Fault};
use rustix::fs::MemfdFlags;

use crate::devices;

pub(crate) const PAGE: u64 = 4096;
/// Where the second device puts what it read: the last page of the memory, here on the bus.
const OUTBOX: Iova = Iova::new(0x7000_0000);
/// What memory is filled with before a device writes there.
const FILLING: u8 = 0x55;

/// A piece of memory that is a file's, as a guest's is.
pub(crate) struct Guest {
    pub(crate) file: File,
    pub(crate) memory: Memory,
}

impl Guest {
    pub(crate) fn new(pages: u64) -> Result<Self, String> {
        let file: File = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC)
            .map_err(|errno| format!("memfd: {errno}"))?
            .into();
        let bytes = pages * PAGE;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        let own = file.try_clone().map_err(|error| error.to_string())?;
        let bytes = usize::try_from(bytes).map_err(|error| error.to_string())?;
        let memory = Memory::of_file(own, 0, bytes).map_err(|fault| told(fault.into()))?;
        Ok(Self { file, memory })
    }

    pub(crate) fn bytes<const N: usize>(&self, offset: u64) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.file.read_exact_at(&mut bytes, offset).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    pub(crate) fn put(&self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        self.file.write_all_at(bytes, offset).map_err(|error| error.to_string())
    }
}

/// Opens the claim that `function` is in.
pub(crate) fn hold(function: PciAddress) -> Result<Hold, String> {
    let writer = HostWriter::default();
    let manager = Manager::new(Root::default(), &writer, Store::new(RUN_FOLDER));
    manager.hold(function).map_err(told)
}

/// The iommufd that a claim's functions are bound to, and those functions.
pub(crate) fn iommufd(hold: &Hold) -> Result<(Iommufd, Vec<IommufdDevice>), String> {
    let copy = |file: &File| file.try_clone().map_err(|error| error.to_string());
    let fault = |fault: Fault| told(fault.into());
    let Some(Held::Device { iommufd, .. }) = hold.held().first() else {
        return Err("the claim is held by its group, not by iommufd".to_owned());
    };
    let iommufd = Iommufd::of(copy(iommufd)?).map_err(fault)?;
    let mut devices = Vec::new();
    for held in hold.held() {
        if let Held::Device { function, file, .. } = held {
            let name = function.to_string();
            devices.push(IommufdDevice::bound(copy(file)?, name, &iommufd).map_err(fault)?);
        }
    }
    Ok((iommufd, devices))
}

/// Two devices and their domains.
pub(crate) struct Stage<'a> {
    pub(crate) iommufd: Iommufd,
    pub(crate) writer: Opened<'a>,
    pub(crate) reader: Opened<'a>,
    /// What the writer reaches, and what the reader does.
    pub(crate) for_writer: IommufdDomain,
    pub(crate) for_reader: IommufdDomain,
    outbox: Guest,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(
        hold: &'a Hold,
        writer: PciAddress,
        reader: PciAddress,
    ) -> Result<Self, String> {
        let (iommufd, devices) = iommufd(hold)?;
        let (of_writer, of_reader): (Vec<_>, Vec<_>) =
            devices.into_iter().partition(|device| device.name() == writer.to_string());
        let for_writer = iommufd.domain(of_writer).map_err(told)?;
        let for_reader = iommufd.domain(of_reader).map_err(told)?;
        let open = |function| {
            let mut opened = hold.open_function(&Root::default(), function).map_err(told)?;
            devices::wake(&mut opened).map_err(|fault| told(fault.into()))?;
            Ok::<_, String>(opened)
        };
        let (writer, reader) = (open(writer)?, open(reader)?);
        let outbox = Guest::new(2)?;
        let mut stage = Self { iommufd, writer, reader, for_writer, for_reader, outbox };
        let both = Rights::READ_WRITE;
        map(&mut stage.for_reader, OUTBOX, 2, &stage.outbox.memory, 0, both)?;
        Ok(stage)
    }

    /// Whether the writer can write at `iova`: its word, which what is there must bear out.
    pub(crate) fn can_write(
        &mut self,
        iova: Iova,
        guest: &Guest,
        offset: u64,
    ) -> Result<bool, String> {
        guest.put(offset, &[FILLING; 4])?;
        let says = devices::write(&mut self.writer, iova)?;
        let there = guest.bytes::<4>(offset)?;
        let is_so = if says { there == devices::WRITTEN } else { there == [FILLING; 4] };
        match is_so {
            true => Ok(says),
            false => Err(format!("the device says {says} of {iova}, and {there:x?} is there")),
        }
    }

    /// What the reader finds at `iova`.
    pub(crate) fn found(&mut self, iova: Iova) -> Result<[u8; 8], String> {
        // A page of zeroes, read first: where a read is turned down that is what it has.
        let zeroes = OUTBOX.checked_add(PAGE).ok_or("no second page")?;
        devices::forget(&mut self.reader, zeroes)?;
        self.outbox.put(0, &[FILLING; 8])?;
        devices::read(&mut self.reader, iova, OUTBOX)?;
        self.outbox.bytes(0)
    }
}

/// So many pages from `iova` on.
pub(crate) fn pages(iova: Iova, count: u64) -> Result<Span<Iova>, String> {
    Span::from_parts(iova, count * PAGE).ok_or_else(|| format!("{iova} and {count} pages wrap"))
}

/// Maps whole pages of memory, from `offset` on.
pub(crate) fn map(
    domain: &mut IommufdDomain,
    iova: Iova,
    count: u64,
    memory: &Memory,
    offset: u64,
    rights: Rights,
) -> Result<(), String> {
    let piece = Piece { bus: pages(iova, count)?, memory: memory.clone(), offset, rights };
    match domain.map(&[piece]).pop() {
        Some(Mapped::Done) => Ok(()),
        Some(Mapped::Not(failure) | Mapped::Unknown(failure)) => Err(told(failure)),
        None => Err("there was no answer".to_owned()),
    }
}

/// Unmaps; how many bytes that were, if it was done.
pub(crate) fn unmap(
    domain: &mut IommufdDomain,
    iova: Iova,
    count: u64,
) -> Result<Option<u64>, String> {
    let mut answers = Vec::new();
    domain.unmap(&[pages(iova, count)?], &mut |_, answer| answers.push(answer));
    match answers.as_slice() {
        [Answer::Bytes(bytes)] => Ok(Some(*bytes)),
        [Answer::Failed] => Ok(None),
        other => Err(format!("one span was unmapped, and {} were answered", other.len())),
    }
}

pub(crate) fn told(failure: Failure) -> String {
    match &failure {
        Failure::Refused(refusal) => refusal.to_string(),
        Failure::Faulted(fault) => format!("{fault}: {}", fault.io_error()),
    }
}
