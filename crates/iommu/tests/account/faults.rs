//! Failure at every step, and at random ones: nothing that is reached is uncounted, whatever fails.

use ringfence_iommu::Mode;
use ringfence_iommu::mock::Fails;
use ringfence_ledger::{Appears, Which, Wish};

use crate::kit::{Kit, gpa};

const HOW: [Fails; 3] = [Fails::Cleanly, Fails::HalfDone, Fails::Lies];

/// A history that has every kind of step in it.
fn history(kit: &mut Kit) {
    let (first, second, owner) = (kit.holders[0], kit.holders[1], kit.owner);
    let wishes: Vec<Wish> = (0..4).map(|n| kit.wish(n * 4, 4, n * 4)).collect();
    for holder in [first, second] {
        kit.account.map(holder, &wishes, Mode::BestEffort);
        kit.check();
    }
    kit.account.unmap(first, &[Which::At(crate::kit::iova(0, 4))]);
    kit.check();
    let _answer = kit.account.retire(owner, gpa(0, 8), Some(5));
    kit.account.unmap(second, &[Which::At(crate::kit::iova(0, 4))]);
    kit.check();
    kit.account.pass(6);
    kit.check();
    let _died = kit.account.holder_died(second);
    kit.check();
    let _readmitted = kit.account.readmit(first);
    kit.account.map(first, &[kit.wish(20, 2, 20)], Mode::AllOrNothing);
    kit.check();
}

/// Invariant `I11`. Every step in turn fails, in every way, and then whatever failed is tried again: in the end nothing is
/// left, anywhere.
#[test]
fn whatever_step_fails_nothing_is_given_away_and_in_the_end_all_is_settled() {
    let mut sound = Kit::new(2);
    history(&mut sound);
    let steps: Vec<u64> = sound.devices.iter().map(|device| device.steps()).collect();
    let mut tried = 0;
    for (device, steps) in steps.into_iter().enumerate() {
        assert!(steps > 5, "{steps}");
        for how in HOW {
            // Beyond the last: what is done about a failure can fail as well.
            for (step, next) in (0..steps).flat_map(|step| (0..4).map(move |next| (step, next))) {
                let mut kit = Kit::new(2);
                kit.devices[device].fail(step, how);
                if next > 0 {
                    kit.devices[device].fail(step + next, Fails::Cleanly);
                }
                history(&mut kit);
                settle(&mut kit);
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

fn settle(kit: &mut Kit) {
    for device in &kit.devices {
        device.behave();
    }
    // What could not be fenced is tried again; owners die last.
    for holder in kit.holders.clone() {
        let _gone_before = kit.account.holder_died(holder);
        kit.check();
    }
    kit.account.owner_died(kit.owner).expect("nothing is left");
    assert!(kit.reached().is_empty());
    assert_eq!(kit.account.ledger().entries().count(), 0);
    assert!(kit.account.journal().found().expect("read").mappings.is_empty());
}

/// 5,000 faults in random histories of batches, of two devices.
#[test]
fn five_thousand_faults_in_random_histories() {
    let (mut random, mut faults, mut history) = (Random(2026), 0_u64, 0);
    while faults < 5_000 {
        history += 1;
        let mut kit = Kit::new(2);
        let mut clock = 0;
        for _ in 0..40 {
            let device = random.below(2);
            if random.below(3) == 0 {
                let how = HOW[random.below(3)];
                kit.devices[device].fail(random.below(6) as u64, how);
                faults += 1;
            }
            step(&mut kit, device, &mut clock, &mut random);
            kit.check();
        }
        settle(&mut kit);
    }
    assert!(history > 100, "{history}");
}

fn step(kit: &mut Kit, device: usize, clock: &mut u64, random: &mut Random) {
    let (holder, owner) = (kit.holders[device], kit.owner);
    let place = |random: &mut Random| (random.below(16) * 4) as u64;
    match random.below(10) {
        0..=3 => {
            let count = 1 + random.below(6);
            let wishes: Vec<Wish> = (0..count)
                .map(|_| {
                    let wish = kit.wish(place(random), 4, place(random));
                    let appears = Appears::ALL[random.below(3)];
                    Wish { appears, ..wish }
                })
                .collect();
            let mode = [Mode::AllOrNothing, Mode::BestEffort][random.below(2)];
            kit.account.map(holder, &wishes, mode);
        }
        4..=6 => {
            let own = kit.account.ledger().entries().filter(|entry| entry.holder == holder);
            let own: Vec<Which> = own.map(|entry| Which::Handle(entry.handle)).collect();
            let count = random.below(4).min(own.len());
            kit.account.unmap(holder, &own[..count]);
        }
        7 => {
            let span = gpa(place(random), 4);
            let deadline = (random.below(2) == 0).then_some(*clock + 3);
            let _answer = kit.account.retire(owner, span, deadline);
            let _back = kit.account.take_again(owner, gpa(place(random), 4));
        }
        8 => {
            *clock += 2;
            kit.account.pass(*clock);
        }
        _ => {
            kit.account.cut_off(holder);
            let _readmitted = kit.account.readmit(holder);
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % below as u64).expect("few")
    }
}
