//! What entries of the page table can name: the device's own memory, and anybody's.

use std::collections::BTreeMap;

use ringfence_addr::{Hpa, Span};

use super::account::Account;
use super::defect::Defect;
use super::design::Design;
use super::{PAGE, entry};

/// Pages of memory that is not the device's, by their first addresses.
pub(super) type Foreign = BTreeMap<Hpa, Box<[u8; PAGE]>>;

/// Memory as the device reaches it.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    span: Span<Hpa>,
    usable: usize,
    data: Vec<u8>,
    defect: Option<Defect>,
    /// What was written of others' pages. Before that they are as [`untouched`] says.
    foreign: Foreign,
}

/// What others' pages hold, and what firmware leaves behind.
pub(super) fn untouched(page: Hpa) -> Box<[u8; PAGE]> {
    let mut bytes = Box::new([0; PAGE]);
    for (word, place) in bytes.chunks_exact_mut(8).zip(page.get()..) {
        word.copy_from_slice(&place.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    bytes
}

impl Memory {
    /// The memory as firmware leaves it: its own things, and nowhere zeros.
    pub(super) fn new(design: &Design, defect: Option<Defect>) -> Self {
        let bytes = design.data_bytes;
        let span = u64::try_from(bytes).ok().and_then(|bytes| Span::from_parts(design.data, bytes));
        let span = span.expect("designs have some memory below the last address");
        let mut data = Vec::with_capacity(bytes);
        for page in (design.data.get()..).step_by(PAGE).take(bytes / PAGE) {
            data.extend_from_slice(&*untouched(Hpa::new(page)));
        }
        let usable = design.usable_bytes();
        Self { span, usable, data, defect, foreign: Foreign::new() }
    }

    /// The device's own memory.
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Others' pages that were written.
    pub(super) fn foreign(&self) -> &Foreign {
        &self.foreign
    }

    /// Where in the device's own memory `page` is.
    fn own(&self, page: Hpa) -> Option<usize> {
        let offset = page.get().checked_sub(self.span.first().get())?;
        self.span.contains(page).then(|| usize::try_from(offset).ok()).flatten()
    }

    /// Reads bytes of one page.
    pub(super) fn read(&self, page: Hpa, at: usize, bytes: &mut [u8], account: &mut Account) {
        match self.own(page) {
            Some(_) if self.defect == Some(Defect::Translated) => bytes.fill(0),
            Some(offset) if offset >= self.usable => {
                account.firmware_reads += 1;
                bytes.fill(0xff);
            }
            Some(offset) => {
                let from = offset + at;
                bytes.copy_from_slice(&self.data[from..from + bytes.len()]);
                if let Some(Defect::BitStuck { offset }) = self.defect
                    && let Some(stuck) = offset.checked_sub(from).and_then(|at| bytes.get_mut(at))
                {
                    *stuck |= 1;
                }
            }
            None => {
                account.foreign_reads += 1;
                let there = self.foreign.get(&page).cloned().unwrap_or_else(|| untouched(page));
                bytes.copy_from_slice(&there[at..at + bytes.len()]);
            }
        }
    }

    /// Writes bytes of one page.
    pub(super) fn write(
        &mut self,
        translation: entry::Translation,
        at: usize,
        bytes: &[u8],
        account: &mut Account,
    ) {
        let page = translation.page;
        if !translation.is_writable {
            account.read_only_writes += 1;
            return;
        }
        match self.own(page) {
            Some(_) if self.defect == Some(Defect::Translated) => {}
            Some(offset) if offset >= self.usable => account.firmware_writes += 1,
            Some(offset) => {
                account.data_writes += 1;
                let from = offset + at;
                self.data[from..from + bytes.len()].copy_from_slice(bytes);
                if let Some(Defect::BitStuck { offset }) = self.defect {
                    self.data[offset] |= 1;
                }
            }
            None => {
                account.foreign_writes += 1;
                let there = self.foreign.entry(page).or_insert_with(|| untouched(page));
                there[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}
