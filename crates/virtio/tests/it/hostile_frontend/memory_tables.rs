//! Memory a VMM names that is not there, not its own, or named twice.

use std::os::fd::OwnedFd;

use ringfence_ledger::refusals::{EMPTY, OVERLAPS, WRAPS};
use ringfence_refusal::Code;
use ringfence_virtio::refusals::{BAD_REGION, MALFORMED_MESSAGE, WRONG_DESCRIPTORS};
use ringfence_virtio::wire::MemoryRegion;
use rustix::fs::{Mode, OFlags};
use vhost::vhost_user::message::FrontendReq;

use crate::kit::*;

/// A region that is right: 64 KiB far from the rest.
fn good() -> MemoryRegion {
    MemoryRegion {
        guest_address: GPA + (1 << 30),
        size: 0x1_0000,
        user_address: UVA + (1 << 32),
        mmap_offset: 0,
    }
}

fn file() -> OwnedFd {
    Memory::new("region", 0x1_0000).file()
}

/// A region is refused with `code` when it is added, and as the second of a table; the memory
/// there was stands, and queues run on.
fn is_refused(code: &'static Code, region: MemoryRegion, file: impl Fn() -> OwnedFd) {
    let mut world = World::default();
    world.round_trip(1);
    let add = FrontendReq::ADD_MEM_REG;
    assert_eq!(world.frontend.one_region(add, &region, vec![file()]), Some(1));
    world.stand.refused(code);
    let table = [region_of(&world.frontend.memory), region];
    let files = vec![world.frontend.memory.file(), file()];
    assert_eq!(world.frontend.name_memory(&table, files), Some(1));
    world.stand.refused_since(1, code);
    assert_eq!(world.stand.counters().guest_memory_bytes, RAM_BYTES as u64);
    world.round_trip(2);
    assert_eq!(world.frontend.one_region(add, &good(), vec![self::file()]), Some(0));
    world.serves_the_next();
}

macro_rules! regions {
    ($($name:ident: $code:ident <- $change:expr;)*) => {
        $(#[test]
        fn $name() {
            let change: fn(MemoryRegion) -> MemoryRegion = $change;
            is_refused(&$code, change(good()), file);
        })*
    };
}

regions! {
    a_region_that_wraps: WRAPS <- |good| MemoryRegion { guest_address: u64::MAX - 0xfff, ..good };
    a_region_that_wraps_for_the_vmm: WRAPS <- |good| {
        MemoryRegion { user_address: u64::MAX - 0xfff, ..good }
    };
    a_region_of_nothing: EMPTY <- |good| MemoryRegion { size: 0, ..good };
    a_region_of_everything: BAD_REGION <- |_| {
        MemoryRegion { guest_address: 0, size: u64::MAX, user_address: 1, mmap_offset: 0 }
    };
    a_region_over_another: OVERLAPS <- |good| MemoryRegion { guest_address: GPA + 0x1000, ..good };
    a_region_over_the_end_of_another: OVERLAPS <- |good| {
        MemoryRegion { guest_address: GPA + RAM_BYTES as u64 - 1, ..good }
    };
    a_region_over_another_of_the_vmm: BAD_REGION <- |good| {
        MemoryRegion { user_address: UVA - 0xffff, ..good }
    };
    a_region_longer_than_its_file: BAD_REGION <- |good| MemoryRegion { size: 0x1_0001, ..good };
    a_region_that_begins_after_its_file: BAD_REGION <- |good| {
        MemoryRegion { mmap_offset: 0x1_0000, size: 1, ..good }
    };
    a_region_whose_offset_wraps: BAD_REGION <- |good| {
        MemoryRegion { mmap_offset: u64::MAX - 0xfff, ..good }
    };
}

#[test]
fn a_region_of_no_file() {
    let (reader, _writer) = rustix::pipe::pipe().expect("a pipe");
    is_refused(&BAD_REGION, good(), eventfd);
    is_refused(&BAD_REGION, good(), || reader.try_clone().expect("a duplicate"));
}

/// What cannot be mapped writable is no memory of a guest's.
#[test]
fn a_region_of_a_file_that_is_read_only() {
    let stand = Stand::new(Setup::default());
    let path = stand.folder().join("read-only");
    std::fs::write(&path, vec![0; 0x1_0000]).expect("written");
    is_refused(&BAD_REGION, good(), || {
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).expect("opened")
    });
}

/// A backend that hands its window to a guest it is in league with gains nothing by it: the
/// broker does not copy from the window to itself.
#[test]
fn the_window_itself() {
    let mut world = World::default();
    world.round_trip(1);
    let window = world.stand.backend.window().memory.file();
    let told = world.frontend.one_region(FrontendReq::ADD_MEM_REG, &good(), vec![window]);
    assert_eq!(told, Some(1));
    let refusal = world.stand.refused(&BAD_REGION);
    assert!(refusal.detail().contains("window"), "{refusal}");
    world.round_trip(2);
}

#[test]
fn more_regions_than_anybody_has() {
    let mut world = World::default();
    let add = FrontendReq::ADD_MEM_REG;
    let most = world.frontend.ask_number(FrontendReq::GET_MAX_MEM_SLOTS);
    let nth = |nth: u64| MemoryRegion {
        guest_address: good().guest_address + nth * 0x1000,
        size: 0x1000,
        user_address: good().user_address + nth * 0x1000,
        mmap_offset: 0,
    };
    for each in 1..most {
        assert_eq!(world.frontend.one_region(add, &nth(each), vec![file()]), Some(0));
    }
    assert_eq!(world.frontend.one_region(add, &nth(most), vec![file()]), Some(1));
    world.stand.refused(&BAD_REGION);
    world.round_trip(1);
}

#[test]
fn more_regions_than_a_table_has() {
    let mut world = World::default();
    let regions = [good(); 9];
    let files = (0..8).map(|_| file()).collect();
    assert_eq!(world.frontend.name_memory(&regions, files), Some(1));
    world.stand.refused(&MALFORMED_MESSAGE);
    world.round_trip(1);
}

#[test]
fn a_region_without_its_file_and_files_without_a_region() {
    let mut world = World::default();
    let region = region_of(&world.frontend.memory);
    assert_eq!(world.frontend.name_memory(&[region], Vec::new()), Some(1));
    assert_eq!(world.frontend.name_memory(&[region], vec![file(), file()]), Some(1));
    let add = FrontendReq::ADD_MEM_REG;
    assert_eq!(world.frontend.one_region(add, &good(), Vec::new()), Some(1));
    assert_eq!(world.frontend.one_region(add, &good(), vec![file(), file()]), Some(1));
    let remove = FrontendReq::REM_MEM_REG;
    assert_eq!(world.frontend.one_region(remove, &region, vec![file(), file()]), Some(1));
    world.stand.refused(&WRONG_DESCRIPTORS);
    assert_eq!(world.stand.counters().refusals, 5);
    world.round_trip(1);
}

#[test]
fn a_region_removed_that_was_never_named() {
    let mut world = World::default();
    let remove = FrontendReq::REM_MEM_REG;
    let all = region_of(&world.frontend.memory);
    let half = MemoryRegion { size: all.size / 2, ..all };
    let more = MemoryRegion { size: all.size * 2, ..all };
    for region in [good(), half, more] {
        assert_eq!(world.frontend.one_region(remove, &region, Vec::new()), Some(1));
        world.stand.refused(&BAD_REGION);
        world.round_trip(1);
    }
}

/// A world whose fence takes sealed memory only, without memory yet.
fn strict() -> (Stand, Frontend) {
    let mut setup = Setup::default();
    setup.options.sealed_memory = true;
    let stand = Stand::new(setup);
    let frontend = Frontend::negotiated(&stand.socket(), 0);
    (stand, frontend)
}

#[test]
fn memory_that_could_be_shrunk_is_shown_and_can_be_refused() {
    let world = World::default();
    assert_eq!(world.stand.counters().unsealed_memory_bytes, RAM_BYTES as u64);
    let (stand, mut frontend) = strict();
    let memory = Memory::new("unsealed", RAM_BYTES);
    assert_eq!(frontend.name_memory(&[region_of(&memory)], vec![memory.file()]), Some(1));
    stand.blames(Peer::Vmm, &ringfence_virtio::refusals::UNSEALED_MEMORY);
    assert_eq!(stand.counters().guest_memory_bytes, 0);
}

#[test]
fn memory_that_is_sealed_is_taken_and_cannot_be_shrunk() {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
    let (stand, mut frontend) = strict();
    let file = memfd_create("sealed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let file = file.expect("a memory file");
    ftruncate(&file, RAM_BYTES as u64).expect("a size");
    fcntl_add_seals(&file, SealFlags::SHRINK).expect("a seal");
    let memory = Memory::of(file);
    assert_eq!(frontend.name_memory(&[region_of(&memory)], vec![memory.file()]), Some(0));
    assert!(ftruncate(memory.file(), 0).is_err());
    let counters = stand.counters();
    assert_eq!(
        (counters.guest_memory_bytes, counters.unsealed_memory_bytes),
        (RAM_BYTES as u64, 0)
    );
}
