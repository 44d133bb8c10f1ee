//! Which memory a client may map and take away, and how a device reaches it without a descriptor.

use std::os::fd::OwnedFd;

use ringfence_addr::{Iova, Span};

use crate::kit::{REPLY, Served, command, header, words};

const EXIST: u32 = 17;
const INVALID: u32 = 22;

fn map(address: u64, size: u64, offset: u64, flags: u32) -> Vec<u8> {
    let numbers = [offset, address, size].map(u64::to_ne_bytes).concat();
    [words(&[32, flags]), numbers].concat()
}

fn unmap(address: u64, size: u64, flags: u32) -> Vec<u8> {
    [words(&[24, flags]), [address, size].map(u64::to_ne_bytes).concat()].concat()
}

fn span(first: u64, last: u64) -> Span<Iova> {
    Span::new(Iova::new(first), Iova::new(last)).expect("a span")
}

fn file() -> OwnedFd {
    rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd")
}

#[test]
fn memory_comes_and_goes_whole() {
    let mut served = Served::new();
    served.ask(command::DMA_MAP, &map(0, 0xa0000, 0, 3), &[file()]).expect("mapped");
    served.ask(command::DMA_MAP, &map(0x10_0000, 0x1000, 0xa0000, 1), &[]).expect("mapped");
    let last_page = map(0xffff_ffff_ffff_f000, 0x1000, 0, 2);
    served.ask(command::DMA_MAP, &last_page, &[]).expect("the last page there is");
    assert_eq!(served.seen().mapped.len(), 3);
    assert_eq!(served.seen().with_memory, 1);
    // Over what is there.
    for (address, size) in [(0, 0x1000), (0x9f000, 0x2000), (0xf_f000, 0x3000)] {
        let body = map(address, size, 0, 3);
        assert_eq!(served.ask(command::DMA_MAP, &body, &[]).map(drop), Err(EXIST));
        served.refused("RF1010");
    }
    // A part of one.
    for (address, size) in [(0, 0x1000), (0x9f000, 0x1000), (0x1000, 0xff000 + 0x1000)] {
        let body = unmap(address, size, 0);
        assert_eq!(served.ask(command::DMA_UNMAP, &body, &[]).map(drop), Err(INVALID));
        served.refused("RF1011");
    }
    assert_eq!(served.seen().mapped.len(), 3);
    // Two at once, with what lies between; then where nothing is.
    let body = unmap(0, 0x20_0000, 0);
    let answer = served.ask(command::DMA_UNMAP, &body, &[]).expect("taken away");
    assert_eq!(answer.body, body);
    assert_eq!(served.seen().mapped, [span(0xffff_ffff_ffff_f000, u64::MAX)]);
    served.ask(command::DMA_UNMAP, &unmap(0, 0x1000, 0), &[]).expect("nothing to do");
    // All of it (`VFIO_DMA_UNMAP_FLAG_ALL`).
    served.ask(command::DMA_UNMAP, &unmap(0, 0, 2), &[]).expect("taken away");
    assert!(served.seen().mapped.is_empty());
    served.close().expect("an ordinary end");
}

#[test]
fn what_a_client_leaves_behind_is_taken_away() {
    let mut served = Served::new();
    for page in 0..100 {
        served.ask(command::DMA_MAP, &map(page << 13, 0x1000, 0, 3), &[]).expect("mapped");
    }
    let seen = std::sync::Arc::clone(&served.seen);
    served.close().expect("an ordinary end");
    let seen = seen.lock().expect("seen");
    assert!(seen.mapped.is_empty());
    assert_eq!(seen.disconnected, 1);
    assert_eq!(seen.left, [100], "the device hears of it before anything is taken away");
}

#[test]
fn addresses_that_are_none_are_refused() {
    let mut served = Served::new();
    let none = [
        map(0, 0, 0, 3),
        map(0x1000, 0x800, 0, 3),
        map(0x800, 0x1000, 0, 3),
        map(0xffff_ffff_ffff_f000, 0x2000, 0, 3),
        map(0, 0x1000, 0, 0),
        map(0, 0x1000, 0, 4),
        map(0, 0x1000, 0x7fff_ffff_ffff_f000, 3),
        map(0, 0x1000, u64::MAX, 3),
        map(0, 0x1000, 0x10, 3),
    ];
    for body in none {
        assert_eq!(served.ask(command::DMA_MAP, &body, &[]).map(drop), Err(INVALID), "{body:x?}");
        served.refused("RF1009");
    }
    let body = unmap(0xffff_ffff_ffff_f000, 0x2000, 0);
    assert_eq!(served.ask(command::DMA_UNMAP, &body, &[]).map(drop), Err(INVALID));
    served.refused("RF1009");
    for body in [unmap(0, 0x1000, 2), unmap(0, 0x1000, 1), unmap(0, 0x1000, u32::MAX)] {
        assert_eq!(served.ask(command::DMA_UNMAP, &body, &[]).map(drop), Err(INVALID));
        served.refused("RF1006");
    }
    let two = [file(), file()];
    let body = map(0, 0x1000, 0, 3);
    assert_eq!(served.ask(command::DMA_MAP, &body, &two).map(drop), Err(INVALID));
    served.refused("RF1002");
    served.close().expect("an ordinary end");
}

#[test]
fn there_are_no_more_mappings_than_the_client_was_told() {
    let mut served = Served::new();
    for page in 0..65535u64 {
        served.ask(command::DMA_MAP, &map(page << 12, 0x1000, 0, 3), &[]).expect("mapped");
    }
    let body = map(65535 << 12, 0x1000, 0, 3);
    assert_eq!(served.ask(command::DMA_MAP, &body, &[]).map(drop), Err(28));
    served.refused("RF1012");
    served.ask(command::DMA_UNMAP, &unmap(0, 0, 2), &[]).expect("taken away");
    served.close().expect("an ordinary end");
}

/// The client answers a device's thread while it serves nothing else.
#[test]
fn memory_without_a_descriptor_is_reached_through_the_client() {
    let mut served = Served::new();
    let client = served.seen().client.clone().expect("a client");
    let theirs = client.clone();
    let thread = std::thread::spawn(move || {
        let mut data = [0; 4];
        theirs.dma_read(Iova::new(0x1000), &mut data).expect("read");
        theirs.dma_write(Iova::new(0x2000), &data).expect("written");
        theirs.dma_read(Iova::new(0x3000), &mut data).expect_err("refused").to_string()
    });
    let asked = served.receive().expect("a request");
    assert_eq!((asked.command, asked.flags), (command::DMA_READ, 0));
    assert_eq!(asked.body, [0x1000u64, 4].map(u64::to_ne_bytes).concat());
    let body = [&asked.body[..], &[1, 2, 3, 4]].concat();
    served.send_raw(&[header(asked.id, asked.command, 36, REPLY), body].concat(), &[]);
    let asked = served.receive().expect("a request");
    assert_eq!(asked.command, command::DMA_WRITE);
    assert_eq!(asked.body[16..], [1, 2, 3, 4]);
    let body = asked.body[..16].to_vec();
    served.send_raw(&[header(asked.id, asked.command, 32, REPLY), body].concat(), &[]);
    let asked = served.receive().expect("a request");
    served.send_raw(&header(asked.id, asked.command, 16, REPLY | 0x20), &[]);
    assert!(thread.join().expect("no panic").contains("cannot reach memory"));
    served.close().expect("an ordinary end");
    let gone = client.dma_read(Iova::new(0), &mut [0; 1]).expect_err("it is gone");
    assert!(gone.to_string().contains("cannot reach memory"));
}
