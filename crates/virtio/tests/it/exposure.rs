//! What a backend gets to see: the bytes the guest published on this device, and nothing else of
//! the guest, the VMM or the broker.

use rustix::fs::SealFlags;
use vhost::vhost_user::message::FrontendReq;

use crate::kit::*;

/// Fills all of guest memory; nothing published contains it.
const CANARY: u8 = 0xc5;

const DATA: usize = 0x20_0000;

/// Serves all kinds of requests in a guest whose memory is otherwise full of canaries.
fn after_honest_traffic() -> World {
    let mut world = World::stopped(Setup::default(), 0);
    world.frontend.memory.fill(CANARY);
    // The ring is the driver's own, and zeroed by it.
    world.driver.reset();
    world.frontend.start(0, &world.driver);
    for round in 0..64u8 {
        let published = vec![round % 64; 100 + usize::from(round) * 40];
        let out = world.put(DATA, &published);
        let back = to_guest(DATA + 0x10_0001, 777);
        let head = if round % 2 == 0 {
            world.driver.chain(0, &[out, back])
        } else {
            world.driver.indirect(0, 0x8000, &[out, back])
        };
        world.driver.submit(head);
        let popped = world.stand.backend.wait_pop(0);
        world.stand.backend.echo(0, &popped);
        world.driver.wait_used();
        // As if it had never been there.
        world.frontend.memory.write(DATA, &vec![CANARY; published.len()]);
    }
    world.frontend.config(0, 64);
    world
}

#[test]
fn no_byte_that_was_not_published_is_in_anything_a_backend_has() {
    let world = after_honest_traffic();
    let known = world.stand.backend.known();
    let mut searched = 0;
    for (request, file) in &known.files {
        let status = rustix::fs::fstat(file).expect("a file");
        if status.st_size > 0 {
            let all = Memory::of(file.try_clone().expect("a duplicate")).all();
            let canaries = all.iter().filter(|byte| **byte == CANARY).count();
            assert_eq!(canaries, 0, "in the file that came with {request:?}");
            searched += all.len();
        }
    }
    assert_eq!(searched, 1 << 20, "the window, once, and no other memory");
}

/// What the kernel calls an open file.
fn kind(file: &std::os::fd::OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let name = link.expect("a link").to_string_lossy().into_owned();
    match name.split_once(":[") {
        Some((kind, number)) if !number.contains('[') && kind != "anon_inode" => kind.into(),
        _ => name,
    }
}

#[test]
fn a_backend_is_handed_the_window_its_signals_and_one_socket() {
    let world = after_honest_traffic();
    let known = world.stand.backend.known();
    let mut kinds: Vec<(u32, String)> =
        known.files.iter().map(|(request, file)| ((*request).into(), kind(file))).collect();
    kinds.sort();
    let expected = [
        (FrontendReq::SET_MEM_TABLE, "/memfd:ringfence-window (deleted)"),
        (FrontendReq::SET_VRING_KICK, "anon_inode:[eventfd]"),
        (FrontendReq::SET_VRING_CALL, "anon_inode:[eventfd]"),
        (FrontendReq::SET_BACKEND_REQ_FD, "socket"),
    ];
    let expected = expected.map(|(request, kind)| (u32::from(request), kind.to_owned()));
    assert_eq!(kinds, expected);
    let window = known.window.as_ref().expect("a window").memory.file();
    let seals = rustix::fs::fcntl_get_seals(&window).expect("seals");
    assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL), "{seals:?}");
    assert_eq!(rustix::fs::fstat(&window).expect("a file").st_mode & 0o111, 0, "executable");
}

#[test]
fn no_descriptor_of_the_guests_or_the_vmms_reaches_a_backend() {
    let world = after_honest_traffic();
    let driver = &world.driver;
    let id = |file: &std::os::fd::OwnedFd| std::fs::read_to_string(fdinfo(file)).ok();
    let eventfd_id = |text: Option<String>| {
        let text = text?;
        text.lines().find(|line| line.starts_with("eventfd-id")).map(str::to_owned)
    };
    let theirs: Vec<_> = [&driver.kick, &driver.call, &driver.error]
        .map(|file| eventfd_id(id(file)).expect("an eventfd has an id"))
        .into();
    for (request, file) in &world.stand.backend.known().files {
        if let Some(found) = eventfd_id(id(file)) {
            assert!(!theirs.contains(&found), "{request:?} came with the guest's own eventfd");
        }
    }
}

fn fdinfo(file: &std::os::fd::OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fdinfo/{}", file.as_raw_fd())
}

/// Addresses are compared by their upper parts, so that any place in the region would be found.
#[test]
fn no_address_of_the_guests_or_the_vmms_is_in_any_message() {
    let world = after_honest_traffic();
    for (request, payload) in &world.stand.backend.known().log {
        for at in 0..payload.len().saturating_sub(7) {
            let word: [u8; 8] = payload[at..at + 8].try_into().expect("eight bytes");
            let number = u64::from_le_bytes(word);
            for (base, whose) in [(GPA, "guest"), (UVA, "VMM")] {
                let within = number.wrapping_sub(base) < RAM_BYTES as u64;
                assert!(!within, "{number:#x} of the {whose}'s in message {request}");
            }
        }
    }
    // Nor of this process, which is the broker's: its mappings are where the kernel put them.
    let maps = std::fs::read_to_string("/proc/self/maps").expect("mappings");
    let window = maps.lines().filter(|line| line.contains("ringfence-window"));
    let places: Vec<u64> =
        window.filter_map(|line| u64::from_str_radix(line.split('-').next()?, 16).ok()).collect();
    assert!(!places.is_empty());
    for (request, payload) in &world.stand.backend.known().log {
        for word in payload.windows(8) {
            let number = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            assert!(!places.contains(&number), "{number:#x} of the broker's in {request}");
        }
    }
}
