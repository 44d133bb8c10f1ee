//! What an honest client gets.

use rustix::event::{EventfdFlags, eventfd};

use crate::devices::{FAILING_AT, PARTS, REFUSED_AT};
use crate::kit::{NO_REPLY, Served, command, words};

fn access(offset: u64, region: u32, count: u32) -> Vec<u8> {
    [offset.to_ne_bytes().to_vec(), words(&[region, count])].concat()
}

fn write(offset: u64, region: u32, data: &[u8]) -> Vec<u8> {
    let count = u32::try_from(data.len()).expect("short");
    [access(offset, region, count), data.to_vec()].concat()
}

#[test]
fn a_device_is_described_as_it_is() {
    let mut served = Served::new();
    let info = served.ask(command::INFO, &words(&[16, 0, 0, 0]), &[]).expect("information");
    assert_eq!(info.body, words(&[16, 3, 9, 5]));
    // argsz, flags, index, cap_offset, size and offset in two words each.
    let region = |index| words(&[32, 0, index, 0, 0, 0, 0, 0]);
    let config = served.ask(command::REGION_INFO, &region(7), &[]).expect("a region");
    assert_eq!(config.body, words(&[32, 3, 7, 0, 256, 0, 0, 0]));
    let absent = served.ask(command::REGION_INFO, &region(8), &[]).expect("a region");
    assert_eq!(absent.body, words(&[32, 0, 8, 0, 0, 0, 0, 0]));
    let rom = served.ask(command::REGION_INFO, &region(6), &[]).expect("a region");
    assert_eq!(rom.body[4..8], words(&[1]));
    // What can be mapped does not fit at first.
    let short = served.ask(command::REGION_INFO, &region(2), &[]).expect("a region");
    assert_eq!(short.body, words(&[80, 15, 2, 32, 0x4000, 0, 0x1000, 0]));
    assert!(short.descriptors.is_empty());
    let asked = words(&[80, 0, 2, 0, 0, 0, 0, 0]);
    let whole = served.ask(command::REGION_INFO, &asked, &[]).expect("a region");
    let mut areas = words(&[1 | 1 << 16, 0, 2, 0]);
    for part in PARTS {
        areas.extend(part.offset.to_ne_bytes());
        areas.extend(part.size.to_ne_bytes());
    }
    assert_eq!(whole.body[32..], areas);
    assert_eq!(whole.descriptors.len(), 1);
    for (index, flags, count) in [(0, 7, 1), (1, 9, 0), (2, 1, 4), (3, 9, 0), (4, 9, 0)] {
        let asked = words(&[16, 0, index, 0]);
        let info = served.ask(command::IRQ_INFO, &asked, &[]).expect("interrupts");
        assert_eq!(info.body, words(&[16, flags, index, count]));
    }
    served.close().expect("an ordinary end");
}

#[test]
fn registers_are_read_and_written() {
    let mut served = Served::new();
    let answer = served.ask(command::WRITE, &write(0x10, 0, &[1, 2, 3]), &[]).expect("written");
    assert_eq!(answer.body, access(0x10, 0, 3));
    let answer = served.ask(command::READ, &access(0xf, 0, 5), &[]).expect("read");
    assert_eq!(answer.body, [access(0xf, 0, 5), vec![0, 1, 2, 3, 0]].concat());
    // Several at once, and one that nobody waits for.
    let mut many = 2u64.to_ne_bytes().to_vec();
    many.extend(write(0x20, 0, &[7, 7, 0, 0, 0, 0, 0, 0]));
    many.extend(access(0x24, 0, 1));
    many.extend([8, 9, 9, 9, 9, 9, 9, 9]);
    let answer = served.ask(command::WRITE_MULTI, &many, &[]).expect("written");
    assert_eq!(answer.body, 2u64.to_ne_bytes());
    served.send(command::WRITE, NO_REPLY, &write(0x25, 0, &[6]), &[]);
    let answer = served.ask(command::READ, &access(0x20, 0, 8), &[]).expect("read");
    assert_eq!(answer.body[16..], [7, 7, 0, 0, 8, 6, 0, 0]);
    served.ask(command::RESET, &[], &[]).expect("reset");
    let answer = served.ask(command::READ, &access(0x10, 0, 4), &[]).expect("read");
    assert_eq!(answer.body[16..], [0; 4]);
    assert_eq!(served.seen().resets, 1);
    assert!(served.seen().refused.is_empty());
    served.close().expect("an ordinary end");
}

#[test]
fn what_a_device_says_no_to_is_told() {
    let mut served = Served::new();
    assert_eq!(served.ask(command::WRITE, &write(REFUSED_AT, 0, &[1]), &[]).map(drop), Err(1));
    served.refused("RF0001");
    assert_eq!(served.ask(command::WRITE, &write(FAILING_AT, 0, &[1]), &[]).map(drop), Err(12));
    served.refused("cannot do it");
    served.close().expect("an ordinary end");
}

#[test]
fn interrupts_go_to_the_eventfds_of_the_client() {
    let mut served = Served::new();
    let make = || eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
    let (first, second) = (make(), make());
    let files = [first.try_clone().expect("one"), second.try_clone().expect("another")];
    // DATA_EVENTFD and ACTION_TRIGGER, MSI-X from 1.
    served.ask(command::SET_IRQS, &words(&[20, 0x24, 2, 1, 2]), &files).expect("connected");
    let count = |eventfd| {
        let mut bytes = [0; 8];
        rustix::io::read(eventfd, &mut bytes).map_or(0, |_| u64::from_ne_bytes(bytes))
    };
    let msix = ringfence_vfio_user::InterruptIndex::MsiX;
    assert!(served.interrupts.trigger(msix, 2));
    assert_eq!((count(&first), count(&second)), (0, 1));
    // The client raises them itself: those that it names, then all of a range.
    let named = [words(&[22, 0x22, 2, 1, 2]), vec![1, 0]].concat();
    served.ask(command::SET_IRQS, &named, &[]).expect("raised");
    assert_eq!((count(&first), count(&second)), (1, 0));
    served.ask(command::SET_IRQS, &words(&[20, 0x21, 2, 1, 2]), &[]).expect("raised");
    assert_eq!((count(&first), count(&second)), (1, 1));
    // One is let go, then all.
    served.ask(command::SET_IRQS, &words(&[20, 0x24, 2, 1, 1]), &[]).expect("let go");
    assert!(!served.interrupts.trigger(msix, 1) && served.interrupts.trigger(msix, 2));
    served.ask(command::SET_IRQS, &words(&[20, 0x21, 2, 0, 0]), &[]).expect("let go");
    assert!(!served.interrupts.is_connected(msix));
    served.close().expect("an ordinary end");
}

#[test]
fn a_server_stops_whatever_its_client_is_at() {
    let served = Served::new();
    served.stop.stop();
    served.thread_ends().expect("stopped");
    let mut served = Served::new();
    served.send_raw(&[1, 2, 3], &[]);
    served.stop.stop();
    served.thread_ends().expect("stopped in the middle of a message");
    // A client that asks and never listens: the server waits for room.
    let mut served = Served::new();
    for _ in 0..8 {
        served.send(command::READ, 0, &access(0, 0, 0x1000), &[]);
    }
    for _ in 0..4 {
        served.send(command::READ, 0, &access(0, 2, 0x4000), &[]);
    }
    served.stop.stop();
    served.thread_ends().expect("stopped while sending");
}

#[test]
fn one_client_comes_after_another() {
    use std::os::unix::net::UnixStream;
    let folder = std::env::temp_dir().join(format!("ringfence-vfio-user-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let path = folder.join("socket");
    let server = ringfence_vfio_user::Server::bind(&path).expect("a socket");
    assert!(ringfence_vfio_user::Server::bind(&path).is_err(), "one server to a socket");
    let stop = server.stopper();
    let mut toy = crate::devices::Toy::new();
    let seen = std::sync::Arc::clone(&toy.seen);
    let thread = std::thread::spawn(move || server.serve(&mut toy));
    let hello = [crate::kit::header(1, 1, 20, 0), vec![0; 4]].concat();
    for bytes in [&hello[..], b"no message at all", &hello[..]] {
        let mut client = UnixStream::connect(&path).expect("connected");
        std::io::Write::write_all(&mut client, bytes).expect("sent");
        // Answered or closed, with a reset if there is more that nobody read.
        let _heard = std::io::Read::read(&mut client, &mut [0; 1]);
    }
    stop.stop();
    thread.join().expect("no panic").expect("stopped");
    assert!(!path.exists(), "it removes what it made");
    std::fs::remove_dir(&folder).expect("removed");
    let seen = seen.lock().expect("seen");
    assert_eq!((seen.connected, seen.disconnected), (2, 2));
    assert!(seen.refused[0].starts_with("RF1001"), "{:?}", seen.refused);
}
