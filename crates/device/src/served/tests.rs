//! A served function that is a model: what reaches the function, what is mapped, in which order.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use ringfence_addr::{Gpa, Iova, PciAddress, Rights, Span};
use ringfence_refusal::{Failure, Fault};
use ringfence_vfio_user::{
    Device, DmaMapping, DmaMemory, InterruptChange, InterruptIndex, RegionIndex, RegionPart,
    SetInterrupts,
};

use ringfence_iommu::Switch as _;

use super::*;
use crate::refusals::{NOT_MEMORY, TOO_MUCH_MEMORY};

const MIB: u64 = 1 << 20;
const BUS_MASTER: u8 = 4;

/// What happened to the model, in order.
#[derive(Debug, Default)]
struct Happened {
    events: Vec<String>,
    config: Vec<u8>,
    mapped: Vec<Span<Iova>>,
    /// What the back end does next.
    fails: bool,
    cannot_cut_off: bool,
    /// The bus master bit cannot be turned off.
    is_stubborn: bool,
}

type Shared = Arc<Mutex<Happened>>;

#[derive(Debug)]
struct Model {
    happened: Shared,
    file: File,
    can_reset: bool,
}

#[derive(Debug)]
struct Tables(Shared);

fn at(happened: &Shared) -> MutexGuard<'_, Happened> {
    happened.lock().expect("nobody panicked")
}

impl Port for Model {
    fn function(&self) -> PciAddress {
        PciAddress::from_requester_id(0, 0x10)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn region(&self, index: RegionIndex) -> Result<Described, Fault> {
        let whole = |length, parts| Described {
            length,
            file_offset: u64::from(index.number()) << 40,
            is_readable: true,
            is_writable: true,
            parts,
        };
        Ok(match index {
            RegionIndex::Bar0 => whole(0x4000, vec![RegionPart { offset: 0x1000, size: 0x3000 }]),
            RegionIndex::Bar2 => whole(0x100, Vec::new()),
            RegionIndex::Config => whole(256, Vec::new()),
            _ => Described::default(),
        })
    }

    fn read(&mut self, region: &Described, offset: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let mut happened = at(&self.happened);
        if region.length == 256 && region.file_offset >> 40 == 7 {
            let place = usize::try_from(offset).expect("small");
            bytes.copy_from_slice(&happened.config[place..place + bytes.len()]);
        } else {
            happened.events.push(format!("read {offset:#x} {}", bytes.len()));
        }
        Ok(())
    }

    fn write(&mut self, region: &Described, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut happened = at(&self.happened);
        if region.file_offset >> 40 == 7 {
            let place = usize::try_from(offset).expect("small");
            let kept = if happened.is_stubborn { happened.config[4] & BUS_MASTER } else { 0 };
            happened.config[place..place + bytes.len()].copy_from_slice(bytes);
            happened.config[4] |= kept;
            let state = if happened.config[4] & BUS_MASTER == 0 { "off" } else { "on" };
            happened.events.push(format!("config {offset:#x} {bytes:x?}, bus {state}"));
        } else {
            happened.events.push(format!("write {offset:#x} {bytes:x?}"));
        }
        Ok(())
    }

    fn lines(&self, index: InterruptIndex) -> Result<Lines, Fault> {
        let count = match index {
            InterruptIndex::Intx | InterruptIndex::Msi => 1,
            InterruptIndex::MsiX => 4,
            _ => 0,
        };
        Ok(Lines { count, can_resize: index == InterruptIndex::Intx })
    }

    fn signal(&mut self, index: InterruptIndex, signals: &Signals<'_>) -> Result<(), Fault> {
        let Signals { first, count, action, eventfds } = signals;
        let connected = eventfds.as_ref().map(|all| all.iter().flatten().count());
        at(&self.happened)
            .events
            .push(format!("{index:?} {first}+{count} {action:?} {connected:?}"));
        Ok(())
    }

    fn can_reset(&self) -> Result<bool, Fault> {
        Ok(self.can_reset)
    }

    fn reset(&mut self) -> Result<(), Fault> {
        at(&self.happened).events.push("reset".to_owned());
        Ok(())
    }
}

impl Reach for Tables {
    fn map(&mut self, extent: Extent<'_>, blocks: &[Span<Iova>]) -> Result<(), Failure> {
        let mut happened = at(&self.0);
        if happened.fails {
            return Err(Fault::new("map", "it", rustix::io::Errno::NOMEM).into());
        }
        assert!(blocks.iter().all(|block| extent.bus.encloses(block)));
        happened.mapped.extend(blocks);
        happened.events.push(format!("map {} {}", extent.bus, extent.rights));
        Ok(())
    }

    fn unmap(&mut self, blocks: &[Span<Iova>]) -> Result<(), Failure> {
        let mut happened = at(&self.0);
        if happened.fails {
            return Err(Fault::new("unmap", "it", rustix::io::Errno::IO).into());
        }
        for block in blocks {
            let place = happened.mapped.iter().position(|mapped| mapped == block);
            happened.mapped.swap_remove(place.expect("exactly what was mapped"));
        }
        happened.events.push(format!("unmap {}", blocks.len()));
        Ok(())
    }

    fn is_reached(&self, block: Span<Iova>) -> bool {
        at(&self.0).mapped.contains(&block)
    }

    fn guest_memory(&self, extent: Extent<'_>) -> Option<Span<Gpa>> {
        extent.bus.rebase(Gpa::new(extent.bus.first().get()))
    }

    fn cut_off(&mut self) -> Result<(), Failure> {
        let mut happened = at(&self.0);
        if happened.cannot_cut_off {
            return Err(Fault::new("cut off", "it", rustix::io::Errno::IO).into());
        }
        happened.mapped.clear();
        happened.events.push("cut off".to_owned());
        Ok(())
    }

    fn readmit(&mut self) -> Result<(), Failure> {
        match at(&self.0).mapped.is_empty() {
            true => Ok(()),
            false => Err(Fault::new("begin", "anew", rustix::io::Errno::BUSY).into()),
        }
    }
}

struct Kit {
    served: ServedFunction<Model, Tables>,
    fence: Fence<Model>,
    happened: Shared,
}

impl Kit {
    fn new(overlay: Overlay, lending: Lending, can_reset: bool) -> Self {
        let config = (0..=255).map(|byte: u8| if byte == 4 { 0 } else { byte }).collect();
        let happened = Arc::new(Mutex::new(Happened { config, ..Happened::default() }));
        let file = File::open("/dev/null").expect("it is there");
        let model = Model { happened: Arc::clone(&happened), file, can_reset };
        let tables = Tables(Arc::clone(&happened));
        let block = Block::for_memory(64 * MIB).expect("a block");
        let prepared = Prepared::new(model, overlay).expect("it can be served");
        let fence = prepared.fence();
        Self { served: prepared.serve(tables, block, lending), fence, happened }
    }

    /// With a client, and nothing remembered of how it came.
    fn connected() -> Self {
        let mut kit = Self::new(Overlay::default(), Lending::Descriptors, true);
        kit.connect();
        kit.events();
        kit
    }

    /// What a server does when there is a client: its handle is of no use here, so it is not made.
    fn connect(&mut self) {
        self.served.begin();
    }

    fn events(&self) -> Vec<String> {
        std::mem::take(&mut at(&self.happened).events)
    }

    fn map(&mut self, first: u64, length: u64) -> Result<(), Failure> {
        let descriptor =
            rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
        self.map_file(first, length, Some(descriptor))
    }

    fn map_file(&mut self, first: u64, length: u64, file: Option<OwnedFd>) -> Result<(), Failure> {
        let memory = file.map(|descriptor| DmaMemory { descriptor, file_offset: 0 });
        let rights = Rights::READ_WRITE;
        self.served.dma_map(DmaMapping { span: span(first, length), rights, memory })
    }

    fn config(&mut self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.served.read(RegionIndex::Config, offset, &mut bytes).expect("read");
        bytes
    }
}

fn span(first: u64, length: u64) -> Span<Iova> {
    Span::from_parts(Iova::new(first), length).expect("a span")
}

fn code(failure: Result<(), Failure>) -> String {
    failure.expect_err("refused").to_string().chars().take(6).collect()
}

#[test]
fn a_guest_sees_what_a_plan_shows_and_the_rest_as_it_is() {
    let mut overlay = Overlay::graphics(9, Gpa::new(0x8c00_0000), 1).expect("an overlay");
    let mut kit = Kit::new(overlay.clone(), Lending::Descriptors, true);
    assert_eq!(kit.config(0x5a, 8), [0x5a, 0x5b, 1, 0, 0, 0x8c, 0x60, 0x61]);
    // Writes around it are the function's, in pieces; those into it are nobody's.
    kit.events();
    kit.served.write(RegionIndex::Config, 0x58, &[0xee; 12]).expect("written");
    let expected = ["0x58 [ee, ee, ee, ee]", "0x60 [ee, ee, ee, ee]"];
    assert_eq!(kit.events(), expected.map(|it| format!("config {it}, bus off")));
    assert_eq!(kit.config(0x5c, 4), [1, 0, 0, 0x8c]);
    // What can be changed is kept here.
    let shown = Shown { offset: 0xfc, bytes: vec![0x11; 4], writable: vec![0xf0, 0xff] };
    overlay = Overlay::new(vec![shown]).expect("an overlay");
    kit = Kit::new(overlay, Lending::Descriptors, true);
    kit.served.write(RegionIndex::Config, 0xfc, &[0xaa; 4]).expect("written");
    assert_eq!(kit.config(0xfc, 4), [0xa1, 0xaa, 0x11, 0x11]);
    assert_eq!(at(&kit.happened).config[0xfc..], [0xfc, 0xfd, 0xfe, 0xff]);
}

#[test]
fn a_fenced_function_keeps_off_its_bus_whatever_the_guest_writes() {
    let mut kit = Kit::connected();
    let command = |kit: &mut Kit| kit.config(4, 1)[0];
    kit.served.write(RegionIndex::Config, 4, &[7, 0]).expect("written");
    assert_eq!(command(&mut kit), 7, "as the guest sets it");
    let mut fence = kit.fence.clone();
    fence.off().expect("fenced");
    assert!(fence.is_fenced() && kit.served.status().now().is_fenced);
    assert_eq!(command(&mut kit), 3);
    for (offset, bytes) in [(4, &[7, 0][..]), (4, &[0xff]), (2, &[9, 9, 7, 0])] {
        kit.served.write(RegionIndex::Config, offset, bytes).expect("written");
        assert_eq!(command(&mut kit) & BUS_MASTER, 0, "{bytes:?}");
    }
    fence.on().expect("it may again");
    kit.served.write(RegionIndex::Config, 4, &[7]).expect("written");
    assert_eq!(command(&mut kit), 7);
    // A bit that stays on is told, and the guest does not turn it on again.
    at(&kit.happened).is_stubborn = true;
    let fault = fence.off().expect_err("it is on");
    assert_eq!(fault.to_string(), "cannot turn off bus mastering of 0000:00:02.0");
    assert!(fence.is_fenced());
}

#[test]
fn a_bar_is_lent_as_far_as_vfio_says_or_not_at_all() {
    let kit = Kit::new(Overlay::default(), Lending::Descriptors, true);
    let bar = kit.served.region(RegionIndex::Bar0);
    let lent = bar.mappable.expect("it is lent");
    assert_eq!((lent.file_offset, lent.parts.len()), (0, 1));
    assert_eq!(bar.size, 0x4000);
    assert!(kit.served.region(RegionIndex::Bar2).mappable.is_none(), "VFIO does not map it");
    assert!(kit.served.region(RegionIndex::Config).mappable.is_none());
    assert_eq!(kit.served.region(RegionIndex::Rom).size, 0);
    let mut kit = Kit::new(Overlay::default(), Lending::Nothing, true);
    assert!(kit.served.region(RegionIndex::Bar0).mappable.is_none());
    kit.events();
    kit.served.read(RegionIndex::Bar0, 0x10, &mut [0; 3]).expect("read");
    kit.served.write(RegionIndex::Bar2, 0x20, &[1, 2]).expect("written");
    assert_eq!(kit.events(), ["read 0x10 3", "write 0x20 [1, 2]"]);
}

#[test]
fn memory_is_reached_in_blocks_and_one_can_go_while_the_others_stay() {
    let mut kit = Kit::connected();
    kit.map(0, 9 * MIB).expect("mapped");
    let status = kit.served.status();
    assert_eq!(at(&kit.happened).mapped.len(), 5);
    assert_eq!(status.now().reached, 9 * MIB);
    assert_eq!(status.now().unsealed, 9 * MIB, "an unsealed file is told of");
    // Somebody takes a block away; it comes again, and no other does.
    at(&kit.happened).mapped.retain(|block| *block != span(4 * MIB, 2 * MIB));
    assert_eq!((status.now().withheld, status.now().reached), (2 * MIB, 7 * MIB));
    let page = Span::from_parts(Gpa::new(5 * MIB), 4096).expect("a page");
    assert_eq!(status.take_up(page).expect("taken up"), 1);
    assert_eq!(status.take_up(page).expect("it is there"), 0);
    assert_eq!(kit.events().len(), 2, "one map, and one more");
    assert_eq!(at(&kit.happened).mapped.len(), 5);
    at(&kit.happened).mapped.retain(|block| *block != span(4 * MIB, 2 * MIB));
    // The client takes away what it mapped, whatever is left of it.
    kit.served.dma_unmap(span(0, 9 * MIB)).expect("taken away");
    assert!(at(&kit.happened).mapped.is_empty());
    assert_eq!(status.now().unsealed, 0);
}

#[test]
fn what_is_no_memory_or_too_much_of_it_is_not_reached() {
    let mut kit = Kit::connected();
    kit.map_file(0xfffc_0000, 0x4_0000, None).expect("taken note of");
    assert_eq!(kit.served.status().now().elsewhere, 0x4_0000);
    assert_eq!(kit.served.status().now().reached, 0);
    // A function's own file, as VFIO opens it, is in no file system of memory either.
    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC);
    let wrong = kit.map_file(0, MIB, Some(event.expect("an eventfd")));
    assert_eq!(code(wrong), NOT_MEMORY.to_string());
    kit.map(0, 63 * MIB).expect("mapped");
    let huge = kit.map(1 << 40, 1 << 60);
    assert_eq!(code(huge), TOO_MUCH_MEMORY.to_string());
    kit.map(64 * MIB, MIB).expect("mapped");
    at(&kit.happened).fails = true;
    kit.served.dma_unmap(span(0xfffc_0000, 0x4_0000)).expect("there was nothing to do");
    at(&kit.happened).fails = false;
    kit.served.dma_unmap(span(0, 63 * MIB)).expect("taken away");
    at(&kit.happened).fails = true;
    kit.map(0, MIB).expect_err("the back end fails");
    assert_eq!(kit.served.status().now().reached, MIB, "what failed is not counted");
}

#[test]
fn what_cannot_be_taken_away_has_the_function_cut_off() {
    let mut kit = Kit::connected();
    kit.map(0, 4 * MIB).expect("mapped");
    at(&kit.happened).fails = true;
    kit.served.dma_unmap(span(0, 4 * MIB)).expect("all of it was taken away");
    assert_eq!(kit.events(), ["map 0x0-0x3fffff rw", "cut off"]);
    at(&kit.happened).fails = false;
    kit.map(0, 4 * MIB).expect("mapped");
    at(&kit.happened).fails = true;
    at(&kit.happened).cannot_cut_off = true;
    kit.served.dma_unmap(span(0, 4 * MIB)).expect_err("it is reached still");
    assert_eq!(kit.served.status().now().reached, 4 * MIB);
    // Another client does not change that: the function is not let to its bus.
    kit.served.leaving();
    kit.connect();
    let now = kit.served.status().now();
    assert!(now.is_fenced && now.reached == 4 * MIB, "{now:?}");
    let last = now.refused_last.expect("it was told");
    assert!(last.starts_with("cannot begin anew"), "{last}");
    kit.served.write(RegionIndex::Config, 4, &[7]).expect("written");
    assert_eq!(kit.config(4, 1)[0] & BUS_MASTER, 0);
}

#[test]
fn a_reset_ends_a_fence_and_gives_the_memory_again() {
    let mut kit = Kit::connected();
    kit.map(0, 4 * MIB).expect("mapped");
    kit.fence.off().expect("fenced");
    at(&kit.happened).mapped.clear();
    assert_eq!(kit.served.status().now().withheld, 4 * MIB);
    kit.served.reset().expect("reset");
    assert_eq!(kit.served.status().now().reached, 4 * MIB);
}

#[test]
fn a_client_that_goes_leaves_a_function_that_is_cut_off_first() {
    let mut kit = Kit::new(Overlay::default(), Lending::Descriptors, true);
    assert!(kit.fence.is_fenced(), "there is no client yet");
    kit.events();
    kit.connect();
    assert_eq!(kit.events(), ["reset"]);
    assert!(!kit.fence.is_fenced());
    kit.served.write(RegionIndex::Config, 4, &[7]).expect("written");
    kit.map(0, 2 * MIB).expect("mapped");
    let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC);
    let change = InterruptChange::Connect(vec![eventfd.expect("an eventfd")]);
    let set = SetInterrupts { index: InterruptIndex::MsiX, vectors: vec![2], change };
    kit.served.set_interrupts(set).expect("connected");
    assert_eq!(kit.events().last().map(String::as_str), Some("MsiX 2+1 Trigger Some(1)"));
    // What a server does in this order.
    kit.served.leaving();
    kit.served.dma_unmap(span(0, 2 * MIB)).expect("taken away");
    kit.served.disconnected();
    let expected = ["config 0x4 [3, 5], bus off", "MsiX 0+0 Trigger None", "cut off"];
    assert_eq!(kit.events(), expected);
    kit.connect();
    assert_eq!(kit.events(), ["reset"]);
    assert_eq!(kit.config(4, 1)[0], 3, "only the guest turns it on");
}

#[test]
fn a_function_without_a_reset_says_so() {
    let mut kit = Kit::new(Overlay::default(), Lending::Descriptors, false);
    assert!(!kit.served.can_reset());
    kit.events();
    kit.connect();
    assert!(kit.events().is_empty());
    assert!(!kit.served.can_resize(InterruptIndex::MsiX), "as VFIO says");
    assert_eq!(kit.served.interrupts(InterruptIndex::MsiX), 4);
}
