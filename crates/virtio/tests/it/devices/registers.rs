//! The registers: what a driver sees, what it may write, and what nothing it writes can do.

use proptest::prelude::*;
use ringfence_addr::{Iova, Rights, Span};
use ringfence_ledger::refusals::NOT_GRANTED;
use ringfence_vfio_user::{Device, DmaMapping, DmaMemory, InterruptIndex, RegionIndex};
use ringfence_virtio::balloon::BalloonOptions;
use ringfence_virtio::refusals::{FEATURE_NOT_OFFERED, UNSEALED_MEMORY};

use super::driver::{MUST_TELL_HOST, Machine, PAGE, VERSION_1, memory_file};

const BYTES: u64 = 1 << 20;

fn config<const N: usize>(machine: &mut Machine, offset: u64) -> [u8; N] {
    let mut bytes = [0; N];
    machine.function.read(RegionIndex::Config, offset, &mut bytes).expect("read");
    bytes
}

#[test]
fn a_driver_finds_a_balloon_and_its_registers() {
    let mut machine = Machine::new(BYTES, BalloonOptions::default());
    assert_eq!(config(&mut machine, 0), [0xf4, 0x1a, 0x45, 0x10]);
    assert_eq!(config(&mut machine, 8), [1, 0, 0xff, 0]);
    // Every capability lies after the one before, and each of virtio's kinds is there once.
    let mut at = u64::from(config::<1>(&mut machine, 0x34)[0]);
    let mut kinds = Vec::new();
    while at != 0 {
        let [id, next, _, kind] = config(&mut machine, at);
        kinds.push(if id == 9 { kind } else { id });
        assert!(next == 0 || u64::from(next) > at);
        at = next.into();
    }
    assert_eq!(kinds, [1, 2, 3, 4, 0x11]);
    assert_eq!(machine.function.interrupts(InterruptIndex::MsiX), 6);
    assert_eq!(machine.get::<2>(0x12), [5, 0], "queues");
    machine.put(0x00, &1u32.to_le_bytes());
    assert_eq!(machine.get::<4>(0x04), [1, 0, 0, 0], "VIRTIO_F_VERSION_1");
    machine.put(0x00, &2u32.to_le_bytes());
    assert_eq!(machine.get::<4>(0x04), [0; 4]);
}

#[test]
fn features_that_were_not_offered_are_not_agreed_on() {
    for features in [MUST_TELL_HOST, VERSION_1 | 1 << 33, VERSION_1 | 1 << 3] {
        let mut machine = Machine::new(BYTES, BalloonOptions::default());
        machine.negotiate(features);
        assert_eq!(machine.status() & 8, 0, "{features:#x}");
        assert_eq!(machine.last_refusal().expect("refused").code(), &FEATURE_NOT_OFFERED);
        // Nor does the driver get to be ready.
        machine.put(0x14, &[7]);
        assert_eq!(machine.status() & 4, 0, "{features:#x}");
    }
}

#[test]
fn the_target_is_shown_and_the_driver_told() {
    let mut machine = Machine::started(BYTES, BalloonOptions::default(), VERSION_1);
    let before = machine.get::<1>(0x15);
    machine.function.with(|balloon| balloon.set_target(3 * PAGE));
    assert_eq!(machine.get::<8>(0x2000), [3, 0, 0, 0, 0, 0, 0, 0]);
    assert_ne!(machine.get::<1>(0x15), before, "the generation");
    assert_eq!(machine.get::<1>(0x1000), [2], "a change of the configuration");
    assert_eq!(machine.get::<1>(0x1000), [0], "reading takes it back");
    machine.put(0x2004, &2u32.to_le_bytes());
    machine.put(0x2000, &9u32.to_le_bytes());
    machine.put(0x2006, &9u32.to_le_bytes());
    let figures = machine.figures();
    assert_eq!((figures.target_bytes, figures.actual_bytes), (3 * PAGE, 2 * PAGE));
}

#[test]
fn a_doorbell_that_nobody_may_ring_rings_nothing() {
    let mut machine =
        Machine::started(BYTES, BalloonOptions::default(), VERSION_1 | MUST_TELL_HOST);
    machine.function.write(RegionIndex::Config, 4, &2u16.to_le_bytes()).expect("no master");
    assert!(!machine.send(0, &[100]), "a function that may not reach memory does not");
    machine.function.write(RegionIndex::Config, 4, &6u16.to_le_bytes()).expect("master");
    machine.put(0x3000 + 5 * 4, &[5, 0]);
    machine.put(0x3ffe, &[5, 0]);
    machine.put(0x3000, &[0, 0]);
    assert!(machine.is_all_answered(0));
    assert_eq!(machine.function.refusals().count, 0);
}

#[test]
fn memory_that_goes_and_comes_back() {
    let mut machine =
        Machine::started(BYTES, BalloonOptions::default(), VERSION_1 | MUST_TELL_HOST);
    assert!(machine.send(0, &[100]));
    machine.take_away();
    machine.lend();
    assert!(machine.send(0, &[101]), "the rings are found again, where they were");
    machine.take_away();
    assert_eq!(machine.function.memory_bytes(), 0);
    assert!(!machine.send(0, &[102]));
    assert_eq!(machine.last_refusal().expect("refused").code(), &NOT_GRANTED);
}

#[test]
fn memory_that_cannot_be_used_is_passed_over() {
    let mut machine = Machine::new(BYTES, BalloonOptions::default());
    let span = Span::from_parts(Iova::new(1 << 32), PAGE).expect("a page");
    let of = |file| DmaMemory { descriptor: file, file_offset: 0 };
    let sealed = || Some(of(memory_file(PAGE, true)));
    for (rights, memory, code) in [
        (Rights::READ_WRITE, None, None),
        (Rights::READ, sealed(), None),
        (Rights::READ_WRITE, Some(of(memory_file(PAGE, false))), Some(&UNSEALED_MEMORY)),
    ] {
        let passed = machine.function.passed_over();
        machine.function.dma_map(DmaMapping { span, rights, memory }).expect("no error");
        assert_eq!(machine.function.passed_over(), passed + 1);
        assert_eq!(machine.last_refusal().map(|it| it.code()), code);
        machine.function.dma_unmap(span).expect("taken away");
    }
    machine
        .function
        .dma_map(DmaMapping { span, rights: Rights::READ_WRITE, memory: sealed() })
        .expect("taken");
    assert_eq!(machine.function.memory_bytes(), BYTES + PAGE);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Nothing a guest writes anywhere makes the device fall over, or discard what it was not given.
    #[test]
    fn any_bytes_anywhere(writes in proptest::collection::vec(
        (0..3usize, any::<u16>(), proptest::collection::vec(any::<u8>(), 1..9), any::<bool>()),
        1..200,
    )) {
        let features = VERSION_1 | MUST_TELL_HOST;
        let mut machine = Machine::started(BYTES, BalloonOptions::default(), features);
        machine.fill(100, 3);
        for (region, offset, bytes, likely) in writes {
            let regions = [RegionIndex::Bar0, RegionIndex::Bar1, RegionIndex::Config];
            let sizes = [0x4000, 0x1000, 0x100];
            // Half of them among the registers.
            let range = if likely && region == 0 { 0x38 } else { sizes[region] };
            let offset = u64::from(offset) % range;
            let bytes = &bytes[..bytes.len().min((sizes[region] - offset) as usize)];
            machine.function.write(regions[region], offset, bytes).expect("written");
            let mut read = vec![0; bytes.len()];
            machine.function.read(regions[region], offset, &mut read).expect("read");
        }
        prop_assert_eq!(machine.page(100), vec![3; 4096]);
        machine.start(features);
        prop_assert!(machine.send(0, &[100]));
    }
}
