//! The part of BAR 2 that QEMU maps: a file whose pages are brought up to date when translations change.
//!
//! A file cannot show one page of memory at two places. So what was written to it goes to the memory it
//! was written for before translations change, and what the memory then holds goes into the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, memfd_create};

use super::PAGE;
use super::design::{Behind, Design};
use super::function::Graphics;

/// How much of the aperture's beginning is mapped. At its end it is twice what there is of memory.
/// Between the two each access is a trap.
const MAPPED_BYTES: usize = 16 << 20;

/// A file in place of both ends of the aperture, or of the memory behind BAR 2.
#[derive(Debug)]
pub(super) struct Mirror {
    file: File,
    /// Ranges of pages of BAR 2.
    parts: Vec<Range<usize>>,
    /// Pages with something behind them, as they were when they were brought up to date.
    shown: BTreeMap<usize, Box<[u8; PAGE]>>,
}

impl Mirror {
    pub(super) fn new(graphics: &Graphics) -> Result<Self> {
        let design = graphics.design();
        let file = memfd_create("aperture", MemfdFlags::CLOEXEC).context("no memory file")?;
        let file = File::from(file);
        file.set_len(design.bar2_bytes as u64).context("cannot size the memory file")?;
        let mut this = Self { file, parts: parts(design), shown: BTreeMap::new() };
        for page in this.all() {
            this.put(page, &[0xff; PAGE])?;
        }
        this.show(graphics)?;
        Ok(this)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Which bytes of BAR 2 are mapped: where each part begins, and how many they are.
    pub(super) fn parts(&self) -> impl Iterator<Item = (usize, usize)> {
        self.parts.iter().map(|part| (part.start * PAGE, part.len() * PAGE))
    }

    /// Whether bytes of BAR 2 show memory that is in the file.
    pub(super) fn shows(&self, graphics: &Graphics, offset: usize, length: usize) -> bool {
        let pages: Vec<_> = self.shown.keys().copied().collect();
        graphics.is_shared(offset, length, &pages)
    }

    /// Brings what was written to the file to the memory it was written for.
    pub(super) fn collect(&mut self, graphics: &mut Graphics) -> Result<()> {
        for (page, shown) in &mut self.shown {
            let there = get(&self.file, *page)?;
            if there != *shown {
                graphics.bring(*page, &there);
                *shown = there;
            }
        }
        Ok(())
    }

    /// Brings the file up to date with the memory.
    pub(super) fn show(&mut self, graphics: &Graphics) -> Result<()> {
        let gone: Vec<_> = self.shown.keys().copied().collect();
        for page in gone.into_iter().filter(|page| !graphics.reachable().contains(page)) {
            self.shown.remove(&page);
            self.put(page, &[0xff; PAGE])?;
        }
        let parts = self.parts.clone();
        let pages = parts.into_iter().flat_map(|part| graphics.reachable().range(part));
        for page in pages.copied() {
            let now = graphics.look(page);
            if self.shown.get(&page) != Some(&now) {
                self.put(page, &*now)?;
                self.shown.insert(page, now);
            }
        }
        Ok(())
    }

    /// Finds what was written to pages with nothing behind them, and undoes it.
    pub(super) fn find_lost_writes(&self, graphics: &mut Graphics) -> Result<()> {
        for page in self.all().filter(|page| !self.shown.contains_key(page)) {
            if *get(&self.file, page)? != [0xff; PAGE] {
                graphics.note_lost_write();
                self.put(page, &[0xff; PAGE])?;
            }
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = usize> + use<> {
        self.parts.clone().into_iter().flatten()
    }

    fn put(&self, page: usize, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, (page * PAGE) as u64).context("cannot write the memory file")
    }
}

fn get(file: &File, page: usize) -> Result<Box<[u8; PAGE]>> {
    let mut bytes = Box::new([0; PAGE]);
    file.read_exact_at(&mut *bytes, (page * PAGE) as u64).context("cannot read the memory file")?;
    Ok(bytes)
}

fn parts(design: &Design) -> Vec<Range<usize>> {
    match design.behind {
        Behind::PageTable => {
            let end = design.bar2_bytes / PAGE;
            vec![0..MAPPED_BYTES / PAGE, end - 2 * design.data_bytes / PAGE..end]
        }
        // What firmware keeps is beyond: nothing may reach it unseen.
        Behind::Memory { at } => {
            let usable = at / PAGE..(at + design.usable_bytes()) / PAGE;
            vec![usable]
        }
    }
}
