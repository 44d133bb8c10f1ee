//! A container of VFIO's type 1: groups with one domain between them, and what is mapped in it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ringfence_addr::{Iova, Rights, Span, SpanSet};
use ringfence_refusal::{Failure, Fault};
use vm_memory::MmapRegion;

use crate::book::Book;
use crate::{info, vfio_sys};

/// Memory of this process that devices may be let at, zeroed when it is made.
#[derive(Clone, Debug)]
pub struct Memory(Arc<MmapRegion>);

impl Memory {
    /// So many bytes, a multiple of 4 KiB.
    ///
    /// # Errors
    ///
    /// The system has not as much.
    pub fn new(bytes: usize) -> Result<Self, Fault> {
        let region = MmapRegion::new(bytes).map_err(|error| {
            Fault::new("map", format!("{bytes} bytes of memory"), std::io::Error::other(error))
        })?;
        Ok(Self(Arc::new(region)))
    }
}

/// Groups with one domain between them.
///
/// Their functions reach what is mapped here and nothing else. When it goes away so do the mappings.
#[derive(Debug)]
pub struct Type1 {
    // The order matters: the groups are given back before the memory that was mapped for them.
    _groups: Vec<File>,
    container: File,
    book: Book,
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
        let description = vfio_sys::info(&container).map_err(fault("ask about"))?;
        let apertures = info::apertures(&description);
        Ok(Self { _groups: files, container, book: Book::new(apertures) })
    }

    /// The bus addresses that can be mapped, if the kernel says.
    pub fn apertures(&self) -> Option<&SpanSet<Iova>> {
        self.book.apertures()
    }

    /// Lets the groups' functions reach `memory`, from its start, at `iova`.
    ///
    /// # Errors
    ///
    /// RF0901 to RF0904, or what the kernel says.
    pub fn map(
        &mut self,
        iova: Span<Iova>,
        memory: &Memory,
        rights: Rights,
    ) -> Result<(), Failure> {
        self.book.may_map(iova, memory.0.size())?;
        vfio_sys::map(&self.container, iova, &memory.0, 0, rights)
            .map_err(|errno| Fault::new("map for devices", iova.to_string(), errno))?;
        self.book.mapped(iova, memory.clone());
        Ok(())
    }

    /// Takes a mapping away.
    ///
    /// # Errors
    ///
    /// RF0903, or what the kernel says; if it unmapped less than there was, the memory stays.
    pub fn unmap(&mut self, iova: Span<Iova>) -> Result<(), Failure> {
        self.book.may_unmap(iova)?;
        let fault =
            |errno: std::io::Error| Fault::new("unmap for devices", iova.to_string(), errno);
        let unmapped =
            vfio_sys::unmap(&self.container, iova).map_err(|errno| fault(errno.into()))?;
        if u128::from(unmapped) != iova.length() {
            let said = format!("the kernel unmapped {unmapped} bytes");
            return Err(fault(std::io::Error::other(said)).into());
        }
        self.book.unmapped(iova);
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, Fault> {
    let opened = File::options().read(true).write(true).open(path);
    opened.map_err(|error| Fault::new("open", path.display().to_string(), error))
}
