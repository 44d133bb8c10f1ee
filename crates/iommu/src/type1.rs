//! A container of VFIO's type 1: groups with one domain between them, and what is mapped in it.

use std::fs::File;
use std::path::Path;

use ringfence_addr::{Alignment, Iova, Rights, Span, SpanSet};
use ringfence_ledger::Answer;
use ringfence_refusal::{Failure, Fault};

use crate::domain::{Domain, Mapped, Piece, Switch};
use crate::memory::Memory;
use crate::runs::{Runs, without_last_page};
use crate::{info, vfio_sys};

/// `dma_entry_limit` of Linux's `vfio_iommu_type1`, unless somebody changed it: so many runs.
const ENTRIES_MAX: usize = 65_535;

/// Groups with one domain between them.
///
/// Their functions reach what is mapped here and nothing else. When it goes away so do the mappings.
///
/// Invariant `I17`: what is mapped is pinned by the kernel and kept by us, and both let go of it once, with
/// the entry it was mapped by.
pub struct Type1 {
    // The order matters: the groups are given back before the memory that was mapped for them.
    _groups: Vec<File>,
    container: File,
    says_ranges: bool,
    runs: Runs,
    /// Nothing is mapped but what the runs say.
    knows_all: bool,
    switch: Option<Box<dyn Switch>>,
}

impl std::fmt::Debug for Type1 {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Type1").field("runs", &self.runs.len()).finish_non_exhaustive()
    }
}

impl Type1 {
    /// Opens the kernel's groups with these numbers, in the `/dev` that is in `root`.
    ///
    /// # Errors
    ///
    /// A group is somebody else's, or a driver of the host's is bound in it.
    pub fn open(root: &Path, groups: &[u32]) -> Result<Self, Failure> {
        let container = open(&root.join("dev/vfio/vfio"))?;
        let mut files = Vec::new();
        for group in groups {
            let path = root.join(format!("dev/vfio/{group}"));
            let file = open(&path)?;
            let name = path.display().to_string();
            vfio_sys::set_container(&file, &container)
                .map_err(|errno| Fault::new("put into a container", name, errno))?;
            files.push(file);
        }
        let fault = |what| move |errno| Fault::new(what, "/dev/vfio/vfio", errno);
        vfio_sys::set_type1(&container).map_err(fault("choose type 1 of"))?;
        let mut type1 = Self::of(container)?;
        type1._groups = files;
        Ok(type1)
    }

    /// A container of an earlier life, in which somebody may have mapped something: all that is known of
    /// it is that it can be cleared.
    ///
    /// # Errors
    ///
    /// It is no such container.
    pub fn of_earlier_life(container: File) -> Result<Self, Failure> {
        Ok(Self { knows_all: false, ..Self::of(container)? })
    }

    /// A container that somebody else put groups into, and chose type 1 of. Nothing is mapped in it.
    ///
    /// # Errors
    ///
    /// It is no such container.
    pub fn of(container: File) -> Result<Self, Failure> {
        let description = vfio_sys::info(&container)
            .map_err(|errno| Fault::new("ask about", "a VFIO container", errno))?;
        let ranges = info::apertures(&description);
        let says_ranges = ranges.is_some();
        let usable = without_last_page(ranges.unwrap_or_else(SpanSet::whole));
        Ok(Self {
            _groups: Vec::new(),
            container,
            says_ranges,
            runs: Runs::new(usable, Alignment::PAGE_2M, ENTRIES_MAX),
            knows_all: true,
            switch: None,
        })
    }

    /// The groups' files, by which functions of theirs are opened.
    pub fn groups(&self) -> &[File] {
        &self._groups
    }

    /// Neighbours that are mapped together become one entry of the kernel's, as long as they lie within
    /// one `grain` of bus addresses; 2 MiB unless this is said. For what is mapped from here on.
    pub fn set_grain(&mut self, grain: Alignment) {
        self.runs.set_grain(grain);
    }

    /// What cuts the device off before its mappings go. Without it they are all taken out.
    pub fn set_switch(&mut self, switch: Box<dyn Switch>) {
        self.switch = Some(switch);
    }

    /// How many entries the kernel takes: fewer than 65,535 for its parameter `dma_entry_limit`.
    pub fn set_entries_max(&mut self, entries: usize) {
        self.runs.set_entries_max(entries);
    }

    /// How many entries of the kernel's are used.
    pub fn entries(&self) -> usize {
        self.runs.len()
    }

    /// The bus addresses that can be mapped, if the kernel says.
    pub fn apertures(&self) -> Option<&SpanSet<Iova>> {
        self.says_ranges.then(|| self.runs.usable())
    }

    /// Lets the groups' functions reach `memory`, from its start, at `iova`.
    ///
    /// # Errors
    ///
    /// `RF0901`, `RF0902`, `RF0904`, `RF0910` or `RF0911`, or what the kernel says.
    pub fn map(
        &mut self,
        iova: Span<Iova>,
        memory: &Memory,
        rights: Rights,
    ) -> Result<(), Failure> {
        let piece = Piece { bus: iova, memory: memory.clone(), offset: 0, rights };
        self.map_run(&[piece], iova)
    }

    /// Takes a mapping away that was made by itself.
    ///
    /// # Errors
    ///
    /// `RF0903`, or what the kernel says; if it unmapped less than there was, the memory stays.
    pub fn unmap(&mut self, iova: Span<Iova>) -> Result<(), Failure> {
        self.runs.may_unmap(iova)?;
        for run in self.runs.ask(iova) {
            if let Err(fault) = self.unmap_run(run) {
                self.runs.lost(run);
                return Err(fault.into());
            }
            self.runs.gone(run);
        }
        Ok(())
    }

    /// Maps pieces that make one run.
    fn map_run(&mut self, pieces: &[Piece<Memory>], run: Span<Iova>) -> Result<(), Failure> {
        let Some(first) = pieces.first() else { return Ok(()) };
        self.runs.may_map(first, run)?;
        let offset = usize::try_from(first.offset).expect("it is inside of memory of ours");
        let region = first.memory.region();
        vfio_sys::map(&self.container, run, region, offset, first.rights)
            .map_err(|errno| Fault::new("map for devices", run.to_string(), errno))?;
        self.runs.add(run, first.memory.clone());
        Ok(())
    }

    /// Takes an entry of the kernel's out, and believes it only if it took out what was there.
    fn unmap_run(&self, run: Span<Iova>) -> Result<(), Fault> {
        let fault = |errno: std::io::Error| Fault::new("unmap for devices", run.to_string(), errno);
        let unmapped =
            vfio_sys::unmap(&self.container, run).map_err(|errno| fault(errno.into()))?;
        if u128::from(unmapped) != run.length() {
            let said = format!("the kernel unmapped {unmapped} bytes");
            return Err(fault(std::io::Error::other(said)));
        }
        Ok(())
    }
}

impl Domain<Memory> for Type1 {
    fn usable(&self) -> &SpanSet<Iova> {
        self.runs.usable()
    }

    fn map(&mut self, pieces: &[Piece<Memory>]) -> Vec<Mapped> {
        let mut answers = Vec::with_capacity(pieces.len());
        while let Some((count, run)) = self.runs.join(&pieces[answers.len()..]) {
            let joined = &pieces[answers.len()..][..count];
            // The kernel takes back what it did of a mapping that fails.
            match self.map_run(joined, run) {
                Ok(()) => answers.extend(joined.iter().map(|_| Mapped::Done)),
                Err(failure) if count == 1 => answers.push(Mapped::Not(failure)),
                // Which of them it is, each by itself says.
                Err(_) => answers.extend(joined.iter().map(|piece| {
                    match self.map_run(std::slice::from_ref(piece), piece.bus) {
                        Ok(()) => Mapped::Done,
                        Err(failure) => Mapped::Not(failure),
                    }
                })),
            }
        }
        answers
    }

    fn unmap(&mut self, spans: &[Span<Iova>], answered: &mut dyn FnMut(Span<Iova>, Answer)) {
        for span in spans {
            if !self.runs.may_ask(*span) {
                answered(*span, Answer::Failed);
                continue;
            }
            for run in self.runs.ask(*span) {
                let (done, answer): (_, fn(u64) -> Answer) = match self.unmap_run(run) {
                    Ok(()) => (self.runs.gone(run), Answer::Bytes),
                    Err(_) => (self.runs.lost(run), |_| Answer::Failed),
                };
                for span in done {
                    let bytes = span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get);
                    answered(span, answer(bytes));
                }
            }
        }
    }

    fn flush(&mut self, _spans: &[Span<Iova>]) -> Result<(), Failure> {
        // Type 1 returns from unmapping when the IOMMU has forgotten.
        Ok(())
    }

    fn fence(&mut self) -> Result<(), Failure> {
        match &mut self.switch {
            Some(switch) => switch.off(),
            None => self.clear(),
        }
    }

    fn unfence(&mut self) -> Result<(), Failure> {
        self.switch.as_mut().map_or(Ok(()), |switch| switch.on())
    }

    fn clear(&mut self) -> Result<(), Failure> {
        let fault = |errno: std::io::Error| Fault::new("unmap for devices", "everything", errno);
        let unmap_all =
            || vfio_sys::unmap_all(&self.container).map_err(|errno| fault(errno.into()));
        if !self.knows_all {
            unmap_all()?;
        }
        let bytes = if self.knows_all { self.runs.bytes() } else { 0 };
        let unmapped = unmap_all()?;
        if u128::from(unmapped) != bytes {
            let said = format!("{bytes:#x} bytes were mapped, the kernel unmapped {unmapped:#x}");
            return Err(fault(std::io::Error::other(said)).into());
        }
        self.runs.clear();
        self.knows_all = true;
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, Fault> {
    let opened = File::options().read(true).write(true).open(path);
    opened.map_err(|error| Fault::new("open", path.display().to_string(), error))
}
