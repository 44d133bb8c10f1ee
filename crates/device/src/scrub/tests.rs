//! The scrub against a plain device: registers, a page table that is remembered, memory in pages.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ringfence_addr::{Alignment, Gpa, Hpa, PciAddress, Span};
use ringfence_host::graphics::{FLUSH, Platform};
use ringfence_refusal::{Failure, Fault};

use super::{Graphics, Scrub, Step, View};
use crate::access::Access;
use crate::refusals;

const PAGE: usize = 4096;
const DATA: u64 = 0x8c00_0000;
const SECRET: u8 = 0xa5;

/// What is broken about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// Entries keep what they say.
    Entries,
    /// What was remembered of them is never forgotten.
    Flush,
    /// Requests for the memory are turned away.
    Blocked,
    /// A byte of this page of the memory stays as it is.
    Stuck(usize),
    /// Entries cannot be written once the memory was marked.
    Lost,
}

struct Device {
    broken: Broken,
    config: BTreeMap<u16, u32>,
    registers: BTreeMap<u64, u64>,
    entries: Vec<u64>,
    remembered: Vec<u64>,
    memory: Vec<[u8; PAGE]>,
    entry_bytes: u64,
    writes: usize,
    marks: usize,
}

fn at(place: u64) -> usize {
    usize::try_from(place).expect("a small device")
}

const ENTRIES: u64 = 4096;
const BAR: u64 = 16 << 20;

impl Device {
    /// Skylake with `pages` of 4 MiB steps, and WOPCM of the last MiB.
    fn skylake(broken: Broken) -> Self {
        let data = (4 << 20) / PAGE;
        let mut memory = vec![[SECRET; PAGE]; data];
        memory[0][0] = 0;
        let config = BTreeMap::from([
            (0, 0x1912_8086),
            (4, 0x0000_0006),
            (8, 0x0300_0006),
            // 4 MiB of its own, a page table of 2 MiB.
            (0x50, 0xf040),
            (0x5c, 0x8c00_0001),
            (0xfc, 0x8b5e_7018),
        ]);
        // From the last MiB on, on.
        let registers =
            BTreeMap::from([(0x10_82c0, 0x8c30_0001), (0xd40, 1), (0xd48, 0x8c20_0010)]);
        let entries: Vec<u64> = (0..ENTRIES).map(|entry| 0x1_0000_0001 + (entry << 12)).collect();
        Self {
            broken,
            config,
            registers,
            remembered: entries.clone(),
            entries,
            memory,
            entry_bytes: 8,
            writes: 0,
            marks: 0,
        }
    }

    fn page(&self, offset: u64) -> Option<usize> {
        let entry = *self.remembered.get(usize::try_from(offset / PAGE as u64).ok()?)?;
        let first = (entry & 1 != 0).then_some(entry & !0xfff)?.checked_sub(DATA)?;
        let page = usize::try_from(first).ok()? / PAGE;
        (self.broken != Broken::Blocked && page < self.memory.len()).then_some(page)
    }

    fn scrub(&mut self, copy: bool) -> Result<super::Scrubbed, Failure> {
        let graphics = Graphics::read(self)?;
        Scrub::new(graphics, copy).carry_out(self, &mut |_| ())
    }
}

impl Access for Device {
    fn function(&self) -> PciAddress {
        PciAddress::from_requester_id(0, 0x10)
    }

    fn bar_length(&mut self, bar: u8) -> Result<u64, Fault> {
        Ok(match bar {
            0 => BAR,
            2 => ENTRIES * PAGE as u64,
            _ => 0,
        })
    }

    fn read_config(&mut self, offset: u16, bytes: &mut [u8]) -> Result<(), Fault> {
        let value = self.config.get(&(offset & !3)).copied().unwrap_or(0).to_le_bytes();
        bytes.copy_from_slice(&value[usize::from(offset & 3)..][..bytes.len()]);
        Ok(())
    }

    fn write_config(&mut self, offset: u16, bytes: &[u8]) -> Result<(), Fault> {
        assert_eq!((offset, bytes.len()), (4, 2), "only the command register is written");
        self.config.insert(4, u16::from_le_bytes([bytes[0], bytes[1]]).into());
        Ok(())
    }

    fn read(&mut self, bar: u8, offset: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        assert_ne!(self.config[&4] & 2, 0, "read while it does not answer");
        if bar == 0 {
            let value = match offset.checked_sub(BAR / 2) {
                Some(place) => self.entries[at(place / self.entry_bytes)],
                None => self.registers.get(&offset).copied().unwrap_or(0),
            };
            bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
            return Ok(());
        }
        for (place, byte) in (offset..).zip(bytes) {
            *byte = self.page(place).map_or(0xff, |page| self.memory[page][at(place) % PAGE]);
        }
        Ok(())
    }

    fn write(&mut self, bar: u8, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        assert_ne!(self.config[&4] & 2, 0, "written while it does not answer");
        self.writes += 1;
        if bar == 0 && offset == FLUSH {
            if self.broken != Broken::Flush {
                self.remembered.clone_from(&self.entries);
            }
            return Ok(());
        }
        if bar == 0 {
            let place = offset.checked_sub(BAR / 2).expect("only the page table is written");
            let ignored = match self.broken {
                Broken::Entries => true,
                Broken::Lost => self.marks > 0,
                _ => false,
            };
            if !ignored {
                let value = u64::from_le_bytes(bytes.try_into().expect("eight"));
                self.entries[at(place / self.entry_bytes)] = value;
            }
            return Ok(());
        }
        self.marks += 1;
        for (place, byte) in (offset..).zip(bytes) {
            if let Some(page) = self.page(place) {
                let is_stuck = self.broken == Broken::Stuck(page) && at(place) % PAGE == 77;
                if !is_stuck {
                    self.memory[page][at(place) % PAGE] = *byte;
                }
            }
        }
        Ok(())
    }
}

fn code(failure: &Failure) -> u16 {
    match failure {
        Failure::Refused(refusal) => refusal.code().number,
        Failure::Faulted(fault) => panic!("{fault}"),
    }
}

#[test]
fn all_is_cleared_but_what_firmware_keeps_and_the_table_is_as_before() {
    let mut device = Device::skylake(Broken::Nothing);
    let (entries, config) = (device.entries.clone(), device.config.clone());
    let scrubbed = device.scrub(true).expect("a good device");
    for (page, bytes) in device.memory.iter().enumerate() {
        // WOPCM is the last MiB; the power context is 2 MiB in.
        let is_kept = page >= 768 || page == 512;
        assert_eq!(*bytes == [0; PAGE], !is_kept, "page {page}");
        assert!(!is_kept || *bytes == [SECRET; PAGE], "page {page}");
    }
    assert!(device.entries == entries && device.remembered == entries, "the table");
    assert_eq!(device.config, config);
    let kept = Span::from_parts(Hpa::new(DATA + (2 << 20)), PAGE as u64).expect("a page");
    let copied = &scrubbed.copied[0];
    assert_eq!((copied.span, &copied.bytes[..]), (kept, &[SECRET; PAGE][..]));
    assert!(!scrubbed.cleared.overlaps(&kept));
    let identity = Span::from_parts(Gpa::new(DATA), 4 << 20).expect("a region");
    assert_eq!(copied.place_in(identity).map(|span| span.first()), Ok(Gpa::new(DATA + (2 << 20))));
    let elsewhere = Span::from_parts(Gpa::new(0), 4 << 20).expect("a region");
    assert!(copied.place_in(elsewhere).is_err());
}

#[test]
fn a_device_that_does_not_answer_at_its_bars_is_made_to_and_left_as_it_was() {
    let mut device = Device::skylake(Broken::Nothing);
    device.config.insert(4, 4);
    device.scrub(false).expect("a good device");
    assert_eq!(device.config[&4], 4);
}

#[test]
fn what_is_not_reached_is_never_called_clear() {
    for broken in [Broken::Entries, Broken::Flush, Broken::Blocked, Broken::Stuck(700)] {
        let mut device = Device::skylake(broken);
        let entries = device.entries.clone();
        let failure = device.scrub(false).expect_err("a broken device");
        assert_eq!(code(&failure), refusals::NOT_SCRUBBED.number, "{broken:?}: {failure}");
        assert!(device.entries == entries, "{broken:?}: the table is not as before");
    }
    let mut device = Device::skylake(Broken::Stuck(700));
    let failure = device.scrub(false).expect_err("a broken device").to_string();
    assert!(failure.contains("0x8c2bc04d was cleared and reads 0xa5"), "{failure}");
}

#[test]
fn a_table_that_stays_changed_is_said() {
    let mut device = Device::skylake(Broken::Lost);
    let failure = device.scrub(false).expect_err("a broken device");
    assert_eq!(code(&failure), refusals::ENTRIES_NOT_RESTORED.number, "{failure}");
}

#[test]
fn reading_registers_writes_nothing() {
    let mut device = Device::skylake(Broken::Nothing);
    Graphics::read(&mut device).expect("graphics");
    assert_eq!(device.writes, 0);
}

#[test]
fn registers_that_make_no_sense_are_refused_before_anything_is_written() {
    for (offset, value, expected) in [
        (0_u16, 0x1533_8086, &refusals::NOTHING_STOLEN),
        (8, 0x0200_0000, &refusals::NOTHING_STOLEN),
        (0x50, 0x0040, &refusals::NOTHING_STOLEN),
        (0x50, 0xff40, &refusals::STOLEN_ODD),
        (0x50, 0xf000, &refusals::STOLEN_ODD),
        (0x5c, 0x0000_0001, &refusals::STOLEN_ODD),
        // What firmware keeps would be outside.
        (0x5c, 0x7c00_0001, &refusals::STOLEN_ODD),
    ] {
        let mut device = Device::skylake(Broken::Nothing);
        device.config.insert(offset, value);
        let failure = device.scrub(false).expect_err("nonsense");
        assert_eq!(code(&failure), expected.number, "{offset:#x} = {value:#x}: {failure}");
        assert_eq!(device.writes, 0);
    }
}

#[test]
fn config_space_and_its_mirrors_say_the_same_or_nothing_is_written() {
    for (mirror, value, is_refused) in [
        (0x10_8040, 0xf040, false),
        (0x10_8040, 0xf140, true),
        (0x10_80c0, 0x8c00_0001, false),
        (0x10_80c0, 0x9c00_0001, true),
        (0x10_80c0, 0x1_8c00_0001, true),
    ] {
        let mut device = Device::skylake(Broken::Nothing);
        device.config.extend([(0, 0x9a49_8086), (0xc0, 0x8c00_0001)]);
        device.registers.extend([(0x10_82c0, 0x8c30_0001), (mirror, value)]);
        let read = Graphics::read(&mut device);
        assert_eq!(read.is_err(), is_refused, "{mirror:#x} = {value:#x}: {read:?}");
        if let Err(failure) = read {
            assert_eq!((code(&failure), device.writes), (refusals::STOLEN_ODD.number, 0));
        }
    }
}

#[test]
fn memory_above_what_firmware_keeps_is_nobodys_to_clear() {
    // Tiger Lake says how long that is: here it ends 1 MiB below the top of what GGC says.
    let mut device = Device::skylake(Broken::Nothing);
    device.config.extend([(0, 0x9a49_8086), (0xc0, 0x8c00_0001)]);
    device.registers.insert(0x10_82c0, 0x8c20_0001);
    let failure = device.scrub(false).expect_err("it is not the top");
    assert_eq!((code(&failure), device.writes), (refusals::STOLEN_ODD.number, 0));
    device.registers.insert(0x10_82c0, 0x8c30_0001);
    Graphics::read(&mut device).expect("it is the top");
}

fn graphics(view: View, pages: u64, firmware: u64, kept: Vec<u64>) -> Graphics {
    let span = |first: u64, count: u64| {
        Span::from_parts(Hpa::new(DATA + first * PAGE as u64), count * PAGE as u64)
    };
    let kept = kept.into_iter().filter_map(|page| {
        let span = span(page % pages, 1)?;
        Some(super::Kept { span, why: String::new() })
    });
    Graphics {
        function: PciAddress::from_requester_id(0, 0x10),
        platform: Platform::of_device(0x1912).expect("a design"),
        page_table: None,
        data: span(0, pages).expect("memory"),
        firmware: span(pages - firmware.min(pages - 1), firmware.min(pages - 1)),
        op_region: None,
        kept: kept.collect(),
        view,
    }
}

proptest! {
    /// Whatever sizes there are: each page is cleared once and read back, none of it kept, all marks
    /// are written before the first is looked for and found elsewhere, and nothing outside of the
    /// window's entries is used.
    #[test]
    fn steps_cover_exactly_what_is_cleared(
        pages in 1_u64..40_000,
        firmware in 0_u64..3000,
        kept in prop::collection::vec(any::<u64>(), 0..4),
        slots in prop::option::of(2_u64..20_000),
    ) {
        let view = slots.map_or(View::Whole { offset: 8 << 20 }, |pages| {
            View::Aperture { entries_offset: 8 << 20, pages }
        });
        let graphics = graphics(view, pages, firmware, kept);
        let scrub = Scrub::new(graphics.clone(), false);
        let mut left = ringfence_addr::SpanSet::from(graphics.data);
        graphics.firmware.iter().for_each(|span| left.remove(*span));
        graphics.kept.iter().for_each(|kept| left.remove(kept.span));
        prop_assert_eq!(&scrub.cleared, &left);
        let (mut marked, mut cleared) = (BTreeMap::new(), ringfence_addr::SpanSet::new());
        let mut found = 0_u64;
        let mut pointed = None;
        for step in &scrub.steps {
            match step {
                Step::Point(piece) => pointed = Some(*piece),
                Step::Mark(piece) => {
                    prop_assert_eq!(found, 0);
                    marked.extend(piece.pages());
                }
                Step::Find(piece) => {
                    for (page, offset) in piece.pages() {
                        let before = marked.get(&page).copied();
                        prop_assert!(before.is_some());
                        prop_assert!(slots.is_none() || before != Some(offset), "the same entry");
                        found += 1;
                    }
                }
                Step::Clear(piece) => {
                    prop_assert!(!cleared.overlaps(&piece.memory), "twice");
                    cleared.insert(piece.memory);
                }
                _ => {}
            }
            if let (Step::Mark(piece) | Step::Find(piece) | Step::Clear(piece) | Step::ReadBack(piece), Some(slots)) =
                (step, slots)
            {
                prop_assert_eq!(pointed, Some(*piece), "seen through what was pointed at it");
                let end = piece.offset + piece.bytes();
                prop_assert!(end <= slots * PAGE as u64, "outside of the table");
            }
        }
        prop_assert_eq!(&cleared, &left);
        prop_assert_eq!(u128::from(found) * PAGE as u128, left.length());
        prop_assert!(left.iter().all(|span| span.is_aligned(Alignment::PAGE_4K)));
    }
}
