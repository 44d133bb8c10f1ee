//! Devices with one address space between them, and what is mapped in it.

use ringfence_addr::{Alignment, Iova, Rights, Span, SpanMap, SpanSet};
use ringfence_ledger::Answer;
use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::io::Errno;

use super::{Iommufd, IommufdDevice, NAME};
use crate::domain::{Domain, Mapped, Piece};
use crate::iommufd_sys::{self as sys, Ioas};
use crate::memory::{self, Memory};
use crate::refusals;

/// Devices of one iommufd with one address space between them.
///
/// They reach what is mapped here and nothing else. When it goes away they reach nothing first, and what
/// was mapped goes after.
///
/// The right to write alone is not always that: up to 6.12, Linux lets devices behind VT-d read, too, what
/// they may only write (`DMA_FL_PTE_PRESENT`, which its driver sets in every entry, is the right to read in
/// second-stage tables).
#[derive(Debug)]
pub struct IommufdDomain {
    iommufd: Iommufd,
    ioas: Ioas,
    devices: Vec<IommufdDevice>,
    usable: SpanSet<Iova>,
    mapped: SpanMap<Iova, Memory>,
}

impl IommufdDomain {
    pub(super) fn new(iommufd: Iommufd, devices: Vec<IommufdDevice>) -> Result<Self, Failure> {
        if devices.is_empty() {
            return Err(Refusal::new(&refusals::NO_DOMAIN, "a domain of an iommufd").into());
        }
        let ioas = sys::allocate(iommufd.file())
            .map_err(|errno| Fault::new("make an address space in", NAME, errno))?;
        let usable = SpanSet::new();
        // From here on dropping it undoes what was done.
        let mut domain = Self { iommufd, ioas, devices, usable, mapped: SpanMap::new() };
        domain.devices.iter().try_for_each(|device| device.attach(ioas))?;
        domain.usable = domain.ranges()?;
        Ok(domain)
    }

    fn ranges(&self) -> Result<SpanSet<Iova>, Fault> {
        sys::ranges(self.iommufd.file(), self.ioas)
            .map_err(|errno| Fault::new("ask what can be mapped in", NAME, errno))
    }

    /// The devices, for their registers and interrupts.
    pub fn devices(&self) -> &[IommufdDevice] {
        &self.devices
    }

    /// Lets nothing be mapped outside of `allowed`, and has the kernel turn down further devices that
    /// could not be mapped all of it. To be said before anything is mapped.
    ///
    /// The kernel by itself holds only addresses to it that it chooses; here all are ours.
    ///
    /// # Errors
    ///
    /// RF0901: some of it cannot be mapped.
    pub fn allow(&mut self, allowed: &SpanSet<Iova>) -> Result<(), Failure> {
        if let Some(span) = allowed.iter().find(|span| !self.usable.encloses(span)) {
            let detail = format!("{span} was to be kept; there are {}", self.usable);
            return Err(Refusal::new(&refusals::OUTSIDE_APERTURE, detail).into());
        }
        sys::allow(self.iommufd.file(), self.ioas, allowed)
            .map_err(|errno| Fault::new("choose what can be mapped in", NAME, errno))?;
        self.usable = allowed.clone();
        Ok(())
    }

    /// Whether neighbouring pages become large ones in the IOMMU's tables, as they do unless this is said.
    ///
    /// # Errors
    ///
    /// The kernel says no: something is mapped.
    pub fn set_huge_pages(&mut self, use_them: bool) -> Result<(), Fault> {
        sys::use_huge_pages(self.iommufd.file(), self.ioas, use_them)
            .map_err(|errno| Fault::new("choose page sizes of", NAME, errno))
    }

    fn map_piece(&mut self, piece: &Piece<Memory>) -> Result<(), Failure> {
        let Piece { bus, memory, offset, rights } = piece;
        let refuse = |code, detail: String| Err(Refusal::new(code, detail).into());
        if !bus.is_aligned(Alignment::PAGE_4K) || !offset.is_multiple_of(4096) {
            return refuse(&refusals::NOT_PAGES, format!("{bus}, memory from {offset:#x} on"));
        }
        if rights.is_empty() {
            return refuse(&refusals::NO_RIGHT_LEFT, bus.to_string());
        }
        let length = bus.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get);
        memory::check(memory, *offset, length)?;
        if !self.usable.encloses(bus) {
            let detail = format!("{bus}; there are {}", self.usable);
            return refuse(&refusals::OUTSIDE_APERTURE, detail);
        }
        if let Some((taken, _)) = self.mapped.overlapping(*bus).next() {
            return refuse(&refusals::ALREADY_MAPPED, format!("{bus}: {taken} is mapped"));
        }
        let file = self.iommufd.file();
        let copied = self.iommufd.pool().copy(file, (memory, *offset), self.ioas, *bus, *rights);
        copied.map_err(|errno| mapping_fault(*bus, *rights, errno))?;
        self.mapped.insert(*bus, memory.clone());
        Ok(())
    }

    /// Takes out whole pieces; answers with what the kernel says it took out. If that is not all of them
    /// they stay in the books.
    fn unmap_span(&mut self, span: Span<Iova>) -> Result<u64, Failure> {
        let is_whole = self.mapped.covers(span)
            && self.mapped.overlapping(span).all(|(piece, _)| span.encloses(&piece));
        if !is_whole {
            return Err(Refusal::new(&refusals::NOT_MAPPED, span.to_string()).into());
        }
        let fault =
            |error: std::io::Error| Fault::new("unmap for devices", span.to_string(), error);
        let unmapped = sys::unmap(self.iommufd.file(), self.ioas, span)
            .map_err(|errno| fault(errno.into()))?;
        if u128::from(unmapped) != span.length() {
            let said = format!("the kernel unmapped {unmapped:#x} bytes");
            return Err(fault(std::io::Error::other(said)).into());
        }
        self.forget(span);
        Ok(unmapped)
    }

    /// What was mapped in `span` is no longer; the memory goes.
    fn forget(&mut self, span: Span<Iova>) {
        let mut pool = self.iommufd.pool();
        for (_, memory) in self.mapped.remove(span) {
            pool.copy_gone(self.iommufd.file(), &memory);
        }
    }

    fn cut_off(&self) -> Result<(), Fault> {
        let nowhere = self.iommufd.nowhere();
        // All of them, whatever becomes of the first.
        let outcomes: Vec<_> = self.devices.iter().map(|device| device.cut_off(nowhere)).collect();
        outcomes.into_iter().collect()
    }
}

fn mapping_fault(bus: Span<Iova>, rights: Rights, errno: Errno) -> Fault {
    let fault = Fault::new("map for devices", bus.to_string(), errno);
    match errno {
        Errno::NOMEM => {
            fault.concerning("or the limit on locked memory, RLIMIT_MEMLOCK, is reached")
        }
        Errno::PERM => fault.concerning(format!("{rights}: this process may not write it itself")),
        _ => fault,
    }
}

impl Domain<Memory> for IommufdDomain {
    fn usable(&self) -> &SpanSet<Iova> {
        &self.usable
    }

    fn map(&mut self, pieces: &[Piece<Memory>]) -> Vec<Mapped> {
        // The kernel takes back what it did of a mapping that fails.
        let map = |piece| self.map_piece(piece).map_or_else(Mapped::Not, |()| Mapped::Done);
        pieces.iter().map(map).collect()
    }

    fn unmap(&mut self, spans: &[Span<Iova>], answered: &mut dyn FnMut(Span<Iova>, Answer)) {
        for span in spans {
            let answer = self.unmap_span(*span).map_or(Answer::Failed, Answer::Bytes);
            answered(*span, answer);
        }
    }

    fn flush(&mut self, _spans: &[Span<Iova>]) -> Result<(), Failure> {
        // The kernel returns from unmapping when the IOMMU has forgotten.
        Ok(())
    }

    /// Puts the devices where nothing is mapped, in one step. What is mapped here stays mapped.
    fn fence(&mut self) -> Result<(), Failure> {
        Ok(self.cut_off()?)
    }

    fn unfence(&mut self) -> Result<(), Failure> {
        Ok(self.devices.iter().try_for_each(|device| device.attach(self.ioas))?)
    }

    fn clear(&mut self) -> Result<(), Failure> {
        let bytes: u128 = self.mapped.iter().map(|(span, _)| span.length()).sum();
        let fault = |error: std::io::Error| Fault::new("unmap for devices", "everything", error);
        let unmapped =
            sys::unmap_all(self.iommufd.file(), self.ioas).map_err(|errno| fault(errno.into()))?;
        if u128::from(unmapped) != bytes {
            let said = format!("{bytes:#x} bytes were mapped, the kernel unmapped {unmapped:#x}");
            return Err(fault(std::io::Error::other(said)).into());
        }
        self.forget(Span::whole());
        Ok(())
    }
}

impl Drop for IommufdDomain {
    fn drop(&mut self) {
        // Somebody may have a copy of a device's file, and it would go on reaching what was mapped. What
        // cannot be undone here goes with the last of the files.
        let _ = self.cut_off();
        let _ = self.clear();
        let _ = sys::destroy(self.iommufd.file(), self.ioas);
    }
}
