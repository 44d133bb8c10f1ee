//! What a hostile client gets: an error, or the end of its connection; nothing else.

use std::os::fd::OwnedFd;

use proptest::prelude::*;
use rustix::event::{EventfdFlags, eventfd};

use crate::kit::{REPLY, Served, command, header, words};

const INVALID: u32 = 22;
const UNSUPPORTED: u32 = 95;

fn access(offset: u64, region: u32, count: u32) -> Vec<u8> {
    [offset.to_ne_bytes().to_vec(), words(&[region, count])].concat()
}

fn files(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd")).collect()
}

/// The request is refused for this, and the next one is answered.
fn is_refused(served: &mut Served, command: u16, body: &[u8], error: u32, code: &str) {
    assert_eq!(served.ask(command, body, &[]).map(drop), Err(error), "{command} {body:x?}");
    served.refused(code);
    served.ask(command::RESET, &[], &[]).expect("it goes on");
}

#[test]
fn bytes_that_are_no_message_end_the_connection() {
    let endings = [
        header(1, command::RESET, 15, 0),
        header(1, command::RESET, 0, 0),
        header(1, command::RESET, u32::MAX, 0),
        header(1, command::WRITE, 16 + 16 + (1 << 20) + 1, 0),
        header(1, command::VERSION, 16 + 4 + 4097, 0),
        header(1, 999, 0x10_0000, 0),
        header(1, command::RESET, 16, 2),
        header(1, command::RESET, 16, 0xf),
    ];
    for bytes in endings {
        let mut served = Served::new();
        served.send_raw(&bytes, &[]);
        assert_eq!(served.ended(), "RF1001", "{bytes:x?}");
    }
    for cut in 1..36 {
        let mut served = Served::new();
        let whole = [header(1, command::WRITE, 36, 0), access(0, 0, 4), vec![1; 4]].concat();
        served.send_raw(&whole[..cut], &[]);
        let failure = served.close().expect_err("cut short");
        assert!(failure.to_string().starts_with("RF1001"), "{failure}");
    }
}

#[test]
fn a_message_in_pieces_is_one_message() {
    let mut served = Served::new();
    let whole = [header(9, command::WRITE, 36, 0), access(0, 0, 4), vec![1; 4]].concat();
    for byte in whole {
        served.send_raw(&[byte], &[]);
    }
    let answer = served.receive().expect("an answer");
    assert_eq!((answer.id, answer.flags), (9, REPLY));
    served.close().expect("an ordinary end");
}

#[test]
fn a_version_comes_first_and_once() {
    for (command, body) in [(command::INFO, words(&[16, 0, 0, 0])), (command::RESET, vec![])] {
        let mut served = Served::silent();
        assert_eq!(served.ask(command, &body, &[]).map(drop), Err(INVALID));
        assert_eq!(served.ended(), "RF1003");
    }
    let mut served = Served::new();
    assert_eq!(served.ask(command::VERSION, &[0; 4], &[]).map(drop), Err(INVALID));
    assert_eq!(served.ended(), "RF1003");
    for body in [&[1, 0, 0, 0][..], &[0; 3], b"\0\0\0\0{}", b"\0\0\0\0{\"capabilities\":7}\0"] {
        let mut served = Served::silent();
        assert_eq!(served.ask(command::VERSION, body, &[]).map(drop), Err(INVALID));
        assert_eq!(served.ended(), "RF1004");
    }
}

#[test]
fn replies_to_nothing_end_the_connection() {
    for command in [command::DMA_READ, command::RESET] {
        let mut served = Served::new();
        served.send_raw(&header(0, command, 16, REPLY), &[]);
        assert_eq!(served.ended(), "RF1013");
    }
}

#[test]
fn requests_that_are_not_there_are_told_so() {
    let mut served = Served::new();
    for command in [0, 6, 11, 12, 14, 16, 17, 18, 999, u16::MAX] {
        is_refused(&mut served, command, &[0; 8], UNSUPPORTED, "RF1005");
    }
    // An eventfd by which a client would unmask the line.
    let body = words(&[20, 0x14, 0, 0, 1]);
    assert_eq!(served.ask(command::SET_IRQS, &body, &files(1)).map(drop), Err(UNSUPPORTED));
    served.refused("RF1005");
    served.close().expect("an ordinary end");
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let mut served = Served::new();
    let write = |count, bytes: usize| [access(0, 0, count), vec![1; bytes]].concat();
    let many = |count: u64, bytes: usize| [count.to_ne_bytes().to_vec(), vec![0; bytes]].concat();
    let mut large = many(1, 0);
    large.extend(access(0, 0, 9));
    large.extend([0; 8]);
    let requests = [
        (command::INFO, words(&[15, 0, 0, 0])),
        (command::INFO, words(&[16, 0, 0])),
        (command::REGION_INFO, words(&[31, 0, 0, 0, 0, 0, 0, 0])),
        (command::REGION_INFO, words(&[32, 0, 0, 0])),
        (command::IRQ_INFO, words(&[0, 0, 0, 0])),
        (command::DMA_MAP, words(&[32, 3])),
        (command::DMA_MAP, words(&[31, 3, 0, 0, 0, 0, 0x1000, 0])),
        (command::DMA_UNMAP, words(&[24])),
        (command::READ, words(&[0, 0, 0])),
        (command::WRITE, write(4, 3)),
        (command::WRITE, write(4, 5)),
        (command::WRITE, words(&[0])),
        (command::WRITE_MULTI, many(2, 24)),
        (command::WRITE_MULTI, many(u64::MAX, 24)),
        (command::WRITE_MULTI, many(1, 25)),
        (command::WRITE_MULTI, words(&[1])),
        (command::WRITE_MULTI, large),
        (command::RESET, vec![0]),
        (command::SET_IRQS, words(&[20, 0x21, 2, 0])),
        (command::SET_IRQS, words(&[24, 0x21, 2, 0, 1])),
        (command::SET_IRQS, words(&[24, 0x21, 2, 0, 1, 0])),
        (command::SET_IRQS, words(&[20, 0x22, 2, 0, 1])),
        (command::SET_IRQS, words(&[20, 0x20, 2, 0, 1])),
        (command::SET_IRQS, words(&[20, 0x23, 2, 0, 1])),
        (command::SET_IRQS, words(&[20, 1, 2, 0, 1])),
        (command::SET_IRQS, words(&[20, 0x39, 2, 0, 1])),
        (command::SET_IRQS, words(&[20, u32::MAX, 2, 0, 1])),
    ];
    for (command, body) in requests {
        is_refused(&mut served, command, &body, INVALID, "RF1006");
    }
    served.close().expect("an ordinary end");
}

#[test]
fn nothing_outside_a_region_reaches_the_device() {
    let mut served = Served::new();
    let beyond = [
        access(0, 0, 0),
        access(0, 0, u32::MAX),
        access(0, 0, (1 << 20) + 1),
        access(0xfff, 0, 2),
        access(0x1000, 0, 1),
        access(u64::MAX, 0, 1),
        access(u64::MAX, 0, u32::MAX),
        access(0, 1, 1),
        access(0, 8, 1),
        access(0, 9, 1),
        access(0, u32::MAX, 1),
        access(256, 7, 1),
    ];
    for body in &beyond {
        is_refused(&mut served, command::READ, body, INVALID, "RF1007");
    }
    // The ROM cannot be written.
    is_refused(
        &mut served,
        command::WRITE,
        &[access(0, 6, 1), vec![1]].concat(),
        INVALID,
        "RF1007",
    );
    let region = words(&[32, 0, u32::MAX, 0, 0, 0, 0, 0]);
    is_refused(&mut served, command::REGION_INFO, &region, INVALID, "RF1007");
    served.close().expect("an ordinary end");
}

#[test]
fn interrupts_that_are_not_there_are_refused() {
    let mut served = Served::new();
    let wrong = [
        [2, 0, 5],
        [2, 4, 1],
        [2, u32::MAX, 1],
        [2, 0, u32::MAX],
        [2, u32::MAX, u32::MAX],
        [1, 0, 1],
        [5, 0, 1],
        [u32::MAX, 0, 1],
    ];
    for [index, start, count] in wrong {
        let body = words(&[20, 0x21, index, start, count]);
        is_refused(&mut served, command::SET_IRQS, &body, INVALID, "RF1008");
    }
    is_refused(&mut served, command::IRQ_INFO, &words(&[16, 0, 5, 0]), INVALID, "RF1008");
    // Fewer or more descriptors than vectors, where none belong, and what is no eventfd.
    for (body, count) in [
        (words(&[20, 0x24, 2, 0, 2]), 1),
        (words(&[20, 0x24, 2, 0, 2]), 3),
        (words(&[20, 0x21, 2, 0, 2]), 2),
    ] {
        assert_eq!(served.ask(command::SET_IRQS, &body, &files(count)).map(drop), Err(INVALID));
        served.refused("RF1002");
    }
    let file: OwnedFd = std::fs::File::open("/dev/null").expect("a file").into();
    let body = words(&[20, 0x24, 2, 0, 1]);
    assert_eq!(served.ask(command::SET_IRQS, &body, &[file]).map(drop), Err(INVALID));
    served.refused("RF1002");
    served.close().expect("an ordinary end");
}

#[test]
fn descriptors_nobody_wants_are_closed() {
    let mut served = Served::new();
    let eventfd = files(1).remove(0);
    let copies = |count: usize| -> Vec<OwnedFd> {
        (0..count).map(|_| eventfd.try_clone().expect("a duplicate")).collect()
    };
    assert_eq!(served.ask(command::RESET, &[], &copies(16)).map(drop), Err(INVALID));
    served.refused("RF1002");
    for count in [17, 253] {
        let mut served = Served::new();
        served.send(command::RESET, 0, &[], &copies(count));
        assert_eq!(served.ended(), "RF1002");
    }
    // 16 with each byte of one message.
    let mut served = Served::new();
    for byte in header(1, command::RESET, 16, 0) {
        served.send_raw(&[byte], &copies(16));
    }
    assert_eq!(served.ended(), "RF1002");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever follows a version: the server neither panics nor hangs, and answers what it can.
    #[test]
    fn any_requests_are_survived(
        requests in prop::collection::vec(
            (0u16..20, prop::collection::vec(any::<u8>(), 0..64), 0usize..3), 0..24),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut served = Served::new();
        for (command, body, count) in &requests {
            served.send(*command, 0, body, &files(*count));
        }
        served.send_raw(&tail, &[]);
        let seen = std::sync::Arc::clone(&served.seen);
        rustix::net::shutdown(&served.socket, rustix::net::Shutdown::Write).expect("done");
        while served.receive().is_some() {}
        let _ended = served.close();
        let seen = seen.lock().expect("seen");
        prop_assert!(seen.mapped.is_empty());
        prop_assert_eq!(seen.disconnected, 1);
    }
}
