//! The model does what it says: each kind of mistake is found out, and each defect shows.

use ringfence_addr::Hpa;

use super::mirror::Mirror;
use super::*;

const DESIGNS: [&Design; 6] =
    [&HASWELL, &BAY_TRAIL, &SKYLAKE, &SKYLAKE_WITH_LITTLE, &TIGER_LAKE, &METEOR_LAKE];
const FLUSH: usize = 0x10_1008;
/// An entry that firmware leaves alone.
const FREE: usize = 1000;

/// A function that answers.
fn enabled(design: &'static Design, defect: Option<Defect>) -> Graphics {
    let mut graphics = Graphics::new(design, defect);
    graphics.config_write(4, &[2, 0]);
    graphics
}

fn entry(design: &Design, offset: usize) -> u64 {
    let writable = if *design == BAY_TRAIL { 2 } else { 0 };
    (design.data.get() + offset as u64) | 1 | writable
}

fn set(graphics: &mut Graphics, index: usize, entry: u64) {
    let design = graphics.design();
    let (at, bytes) = (design.page_table_at + index * design.entry_bytes(), entry.to_le_bytes());
    graphics.bar0_write(at, &bytes[..design.entry_bytes()]);
}

fn flush(graphics: &mut Graphics) {
    graphics.bar0_write(FLUSH, &[1, 0, 0, 0]);
}

/// Where in BAR 2 a page of the memory is reached, with the page table if there has to be one.
fn window(graphics: &mut Graphics, offset: usize) -> usize {
    let design = graphics.design();
    if !design.has_aperture() {
        return (8 << 20) + offset;
    }
    set(graphics, FREE, entry(design, offset));
    flush(graphics);
    FREE * PAGE
}

fn word(graphics: &mut Graphics, at: usize) -> u64 {
    let mut bytes = [0; 8];
    graphics.bar2_read(at, &mut bytes);
    u64::from_le_bytes(bytes)
}

#[test]
fn memory_is_reached_by_every_design_first_page_and_last() {
    for design in DESIGNS {
        let mut graphics = enabled(design, None);
        let last = design.usable_bytes() - PAGE;
        for offset in [0, PAGE, last] {
            let at = window(&mut graphics, offset);
            graphics.bar2_write(at + 8, b"a secret");
            assert_eq!(graphics.now().data[offset + 8..][..8], *b"a secret", "{}", design.name);
            assert_eq!(word(&mut graphics, at + 8), u64::from_le_bytes(*b"a secret"));
        }
        assert_eq!(graphics.account().wrongs(), [], "{}", design.name);
        assert_eq!(graphics.account().data_writes, 3);
    }
}

#[test]
fn registers_say_where_the_memory_is() {
    for design in DESIGNS {
        let mut graphics = enabled(design, None);
        let mut mirror = [0; 8];
        graphics.bar0_read(0x10_80c0, &mut mirror);
        assert_eq!(u64::from_le_bytes(mirror), design.data.get() | 1);
        let mut config = [0; 8];
        let (at, bytes) = match design.data_register {
            design::DataRegister::Low => (0x5c, 4),
            design::DataRegister::Wide => (0xc0, 8),
            design::DataRegister::Absent => continue,
        };
        graphics.config_read(at, &mut config[..bytes]);
        assert_eq!(u64::from_le_bytes(config), design.data.get() | 1, "{}", design.name);
    }
}

#[test]
fn an_entry_takes_effect_with_the_flush_only() {
    let mut graphics = enabled(&SKYLAKE, None);
    let at = window(&mut graphics, 0);
    set(&mut graphics, FREE, entry(&SKYLAKE, PAGE));
    graphics.bar2_write(at, b"old page");
    // The bit that does it is not set.
    graphics.bar0_write(FLUSH, &[2, 0, 0, 0]);
    graphics.bar2_write(at + 8, b"old page");
    flush(&mut graphics);
    graphics.bar2_write(at, b"new page");
    let data = graphics.now().data;
    assert_eq!((&data[..16], &data[PAGE..PAGE + 8]), (&b"old pageold page"[..], &b"new page"[..]));
}

#[test]
fn half_an_entry_is_an_entry_of_its_own() {
    let mut graphics = enabled(&TIGER_LAKE, None);
    let whole = entry(&TIGER_LAKE, 0).to_le_bytes();
    let at = TIGER_LAKE.page_table_at + FREE * 8;
    graphics.bar0_write(at, &whole[..4]);
    flush(&mut graphics);
    graphics.bar2_write(FREE * PAGE, &[1]);
    assert_eq!(graphics.account().foreign_writes, 1, "below 4 GiB");
    graphics.bar0_write(at + 4, &whole[4..]);
    flush(&mut graphics);
    graphics.bar2_write(FREE * PAGE, &[1]);
    assert_eq!((graphics.account().foreign_writes, graphics.account().data_writes), (1, 1));
}

#[test]
fn what_should_not_happen_is_counted() {
    let mut graphics = enabled(&SKYLAKE, None);
    let before = graphics.now();
    // An entry that names nothing; others' memory; WOPCM.
    graphics.bar2_write(FREE * PAGE, &[0]);
    assert_eq!(word(&mut graphics, FREE * PAGE), u64::MAX);
    set(&mut graphics, FREE, entry(&SKYLAKE, SKYLAKE.data_bytes));
    flush(&mut graphics);
    graphics.bar2_write(FREE * PAGE, &[0]);
    let at = window(&mut graphics, SKYLAKE.usable_bytes());
    graphics.bar2_write(at, &[0]);
    assert_eq!(word(&mut graphics, at), u64::MAX);
    // A register; three bytes of an entry; and with memory off.
    graphics.bar0_write(0xd48, &[0; 4]);
    graphics.bar0_write(SKYLAKE.page_table_at, &[0; 3]);
    graphics.config_write(4, &[0, 0]);
    graphics.bar0_write(FLUSH, &[1]);
    let account = graphics.account().since(&before.account);
    let expected = Account {
        entry_writes: 3,
        flushes: 2,
        invalid_reads: 1,
        invalid_writes: 1,
        foreign_writes: 1,
        firmware_writes: 1,
        firmware_reads: 1,
        register_writes: 1,
        odd_accesses: 1,
        undecoded: 1,
        ..Account::default()
    };
    assert_eq!(account, expected);
    assert_eq!(account.wrongs().len(), 7, "{account}");
    let now = graphics.now();
    assert_eq!(now.data, before.data);
    let foreign: Vec<_> = now.foreign.keys().copied().collect();
    assert_eq!(foreign, [Hpa::new(0x8bc0_0000)]);
}

#[test]
fn entries_of_bay_trail_can_be_read_only() {
    let mut graphics = enabled(&BAY_TRAIL, None);
    set(&mut graphics, FREE, BAY_TRAIL.data.get() | 1);
    flush(&mut graphics);
    graphics.bar2_write(FREE * PAGE, &[0; 8]);
    assert_eq!(graphics.account().wrongs(), [("writes through read-only entries", 1)]);
    assert_ne!(word(&mut graphics, FREE * PAGE), 0);
}

#[test]
fn entries_name_addresses_above_4_gib_as_their_design_says() {
    let at = 0x7b_1234_5000;
    let cases = [
        (entry::EntryFormat::Haswell, 0x1234_5000 | 0x7b << 4 | 1, at),
        (entry::EntryFormat::BayTrail, 0x1234_5000 | 0x7b << 4 | 3, at),
        (entry::EntryFormat::Wide39, at | 1, at),
        (entry::EntryFormat::Wide46, 1 << 40 | at | 1, 1 << 40 | at),
    ];
    for (format, entry, page) in cases {
        let decoded = format.decode(entry).expect("it is valid");
        assert_eq!(decoded.page, Hpa::new(page), "{format:?}");
        assert_eq!(format.encode(Hpa::new(page)), entry, "{format:?}");
        assert_eq!(format.decode(entry & !1), None);
    }
    assert_eq!(entry::EntryFormat::Wide46.decode(at | 3), None, "local memory");
}

#[test]
fn a_reset_clears_registers_and_no_memory() {
    for design in DESIGNS {
        let mut graphics = enabled(design, None);
        let at = window(&mut graphics, 0);
        graphics.bar2_write(at, b"a secret");
        let before = graphics.now();
        // Function-level reset by either capability.
        match design.entry_bytes() {
            4 => graphics.config_write(0xa8, &[1]),
            _ => graphics.config_write(0x78, &[0, 0x80]),
        }
        let after = graphics.now();
        assert_eq!((before.command, after.command), (2, 0));
        assert_eq!((after.data, after.page_table), (before.data, before.page_table));
    }
}

#[test]
fn each_defect_shows() {
    let zeroes = |defect| {
        let mut graphics = enabled(&SKYLAKE_WITH_LITTLE, Some(defect));
        let at = window(&mut graphics, 0x3000);
        graphics.bar2_write(at, &[0; PAGE]);
        let mut there = vec![1; PAGE];
        graphics.bar2_read(at, &mut there);
        let is_zero = graphics.now().data[0x3000..0x4000].iter().all(|byte| *byte == 0);
        (there.iter().all(|byte| *byte == 0), is_zero)
    };
    assert_eq!(zeroes(Defect::EntriesLockAfter(0)), (false, false));
    assert_eq!(zeroes(Defect::EntriesLockAfter(1)), (true, true));
    let mut graphics = enabled(&SKYLAKE, Some(Defect::EntriesDoNotReturn));
    let _used = window(&mut graphics, 0);
    let used = graphics.now().page_table;
    set(&mut graphics, FREE, 0);
    assert_eq!(graphics.now().page_table, used);
    assert_eq!(zeroes(Defect::FlushIgnored), (false, false));
    assert_eq!(zeroes(Defect::BitStuck { offset: 0x3fff }), (false, false));
    assert_eq!(zeroes(Defect::BitStuck { offset: 0x4000 }), (true, true));
    assert_eq!(
        zeroes(Defect::Translated),
        (true, false),
        "only reading back other bytes finds out"
    );
    assert_eq!(zeroes(Defect::Dead), (false, false));
    let told = |defect| {
        let mut graphics = enabled(&TIGER_LAKE, defect);
        let (mut control, mut mirrors) = ([0; 2], [0; 3 * 8]);
        graphics.config_read(0x50, &mut control);
        graphics.bar0_read(0x10_8040, &mut mirrors[..8]);
        graphics.bar0_read(0x10_80c0, &mut mirrors[8..16]);
        graphics.bar0_read(0x10_82c0, &mut mirrors[16..]);
        let words = mirrors
            .chunks_exact(8)
            .map(|word| word.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)));
        (u16::from_le_bytes(control), words.collect::<Vec<_>>())
    };
    let (control, words) = told(None);
    assert_eq!(
        told(Some(Defect::Smaller)),
        (control + 0x100, vec![words[0] + 0x100, words[1], words[2]])
    );
    assert_eq!(
        told(Some(Defect::ControlDisagrees)),
        (control, vec![words[0] + 0x100, words[1], words[2]])
    );
    assert_eq!(
        told(Some(Defect::DataDisagrees)),
        (control, vec![words[0], words[1] + 0x10_0000, words[2]])
    );
    assert_eq!(
        told(Some(Defect::FirmwareOutside)),
        (control, vec![words[0], words[1], words[2] + 0x400_0000])
    );
}

#[test]
fn a_mark_keeps_what_was() {
    let mut graphics = enabled(&SKYLAKE, None);
    graphics.config_write(MARK, &[7]);
    let at = window(&mut graphics, 0);
    graphics.bar2_write(at, b"a secret");
    let mark = graphics.at_mark(7).expect("it was made");
    assert_ne!(mark.data, graphics.now().data);
    assert_eq!(mark.account.data_writes, 0);
    assert_eq!(graphics.at_mark(8), None);
}

/// What QEMU does with the file.
fn poke(mirror: &Mirror, at: usize, bytes: &[u8]) {
    std::os::unix::fs::FileExt::write_all_at(mirror.file(), bytes, at as u64)
        .expect("it is a file");
}

fn peek(mirror: &Mirror, at: usize) -> [u8; 8] {
    let mut bytes = [0; 8];
    let read = std::os::unix::fs::FileExt::read_exact_at(mirror.file(), &mut bytes, at as u64);
    read.map(|()| bytes).expect("it is a file")
}

#[test]
fn mapped_pages_go_where_they_were_written_for() {
    let mut graphics = enabled(&SKYLAKE, None);
    let mut mirror = Mirror::new(&graphics).expect("a file");
    // Written through the entry of firmware's framebuffer, and then one more that names the same page.
    poke(&mirror, 0, b"a secret");
    set(&mut graphics, FREE, entry(&SKYLAKE, 0));
    let mut turn = |graphics: &mut Graphics| {
        mirror.collect(graphics).expect("a file");
        flush(graphics);
        mirror.show(graphics).expect("a file");
    };
    turn(&mut graphics);
    assert_eq!(graphics.now().data[..8], *b"a secret");
    let at = FREE * PAGE;
    assert_eq!(peek(&mirror, at), *b"a secret");
    // Cleared through the one, it is cleared for the other, and is not brought back by it.
    poke(&mirror, at, &[0; 8]);
    set(&mut graphics, FREE, entry(&SKYLAKE, PAGE));
    mirror.collect(&mut graphics).expect("a file");
    flush(&mut graphics);
    mirror.show(&graphics).expect("a file");
    assert_eq!((graphics.now().data[..8].to_vec(), peek(&mirror, 0)), (vec![0; 8], [0; 8]));
    assert_eq!(peek(&mirror, at), graphics.now().data[PAGE..PAGE + 8]);
    // Where there is nothing, all ones stay.
    poke(&mirror, (FREE + 1) * PAGE, &[0]);
    mirror.find_lost_writes(&mut graphics).expect("a file");
    assert_eq!(graphics.account().wrongs(), [("writes through entries that name nothing", 1)]);
    assert_eq!(peek(&mirror, (FREE + 1) * PAGE), [0xff; 8]);
}

#[test]
fn memory_behind_bar_2_is_mapped_without_what_firmware_keeps() {
    let mut graphics = enabled(&METEOR_LAKE, None);
    let mut mirror = Mirror::new(&graphics).expect("a file");
    assert_eq!(mirror.parts().collect::<Vec<_>>(), [(8 << 20, 3 << 20)]);
    poke(&mirror, 8 << 20, b"a secret");
    mirror.collect(&mut graphics).expect("a file");
    assert_eq!(graphics.now().data[..8], *b"a secret");
    graphics.bar2_write(11 << 20, &[0]);
    graphics.bar2_write(0, &[0]);
    let wrongs = [("writes to WOPCM", 1), ("accesses beyond what BAR 2 has", 1)];
    assert_eq!(graphics.account().wrongs(), wrongs);
}
