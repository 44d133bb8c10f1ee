//! Random histories against a plain model of the balloon: one state for each page, and nothing clever.

use std::collections::BTreeSet;

use proptest::prelude::*;
use ringfence_addr::{Gpa, Span};
use ringfence_virtio::balloon::BalloonOptions;

use super::driver::{MUST_TELL_HOST, Machine, PAGE, REPORTING, VERSION_1, WRITE};

/// The pages that the model plays with are these, beyond those of rings and requests.
const FIRST: u32 = 64;
const PAGES: u32 = 48;
const BLOCK: u32 = 4;

#[derive(Clone, Debug)]
enum Step {
    Inflate(BTreeSet<u32>),
    Deflate(BTreeSet<u32>),
    Report(u32, u32),
    Map(usize, u32, u32),
    Unmap(usize, u32),
    GiveIn,
    BeStubborn(bool),
    StartAnew,
}

fn step() -> impl Strategy<Value = Step> {
    let run = (0..PAGES, 1..=8u32)
        .prop_map(|(first, count)| (first..(first + count).min(PAGES)).collect::<BTreeSet<u32>>());
    let some = proptest::collection::btree_set(0..PAGES, 1..12);
    let pages = prop_oneof![3 => run, 1 => some].boxed();
    let block = 0..PAGES / BLOCK;
    prop_oneof![
        6 => pages.clone().prop_map(Step::Inflate),
        4 => pages.prop_map(Step::Deflate),
        2 => (0..PAGES, 1..=8u32).prop_map(|(first, count)| Step::Report(first, count.min(PAGES - first))),
        3 => (0..2usize, block.clone(), 1..=2u32).prop_map(|(who, block, count)| Step::Map(who, block, count)),
        1 => (0..2usize, block).prop_map(|(who, block)| Step::Unmap(who, block)),
        2 => Just(Step::GiveIn),
        1 => any::<bool>().prop_map(Step::BeStubborn),
        1 => Just(Step::StartAnew),
    ]
}

fn span(first: u32, count: u32) -> Span<Gpa> {
    let first = Gpa::new(u64::from(FIRST + first) * PAGE);
    Span::from_parts(first, u64::from(count) * PAGE).expect("not empty")
}

/// What each page holds as the guest left it, and whether it is in the balloon. A guest that may be
/// waiting for an answer does nothing else with those pages.
struct Model {
    machine: Machine,
    features: u64,
    in_balloon: BTreeSet<u32>,
    content: Vec<u8>,
    deflating: Option<BTreeSet<u32>>,
    /// Whether the balloon may leave pages to the guest that it would take with more room.
    is_narrow: bool,
    turn: u8,
}

impl Model {
    fn new(features: u64, pieces_max: usize) -> Self {
        let options = BalloonOptions { pieces_max, ..BalloonOptions::default() };
        let bytes = u64::from(FIRST + PAGES) * PAGE;
        let mut model = Self {
            machine: Machine::started(bytes, options, features),
            features,
            in_balloon: BTreeSet::new(),
            content: vec![0; PAGES as usize],
            deflating: None,
            is_narrow: pieces_max < PAGES as usize,
            turn: 0,
        };
        (0..PAGES).for_each(|page| model.write(page));
        model
    }

    fn tells(&self) -> bool {
        self.features & MUST_TELL_HOST != 0
    }

    /// The guest writes something that was not there before.
    fn write(&mut self, page: u32) {
        self.turn = self.turn % 250 + 1;
        self.content[page as usize] = self.turn;
        self.machine.fill(FIRST + page, self.turn);
    }

    fn numbers(pages: &BTreeSet<u32>) -> Vec<u32> {
        pages.iter().map(|page| FIRST + page).collect()
    }

    /// Those of these pages that no device has mapped.
    fn unmapped(&self, pages: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let is_unmapped = |page: &u32| !self.machine.world.is_mapped(span(*page, 1));
        pages.into_iter().filter(is_unmapped).collect()
    }

    /// Pages whose content the guest has given up may be zeroes from now on.
    fn give_up(&mut self, page: u32) {
        if self.machine.page(FIRST + page).iter().all(|byte| *byte == 0) {
            self.content[page as usize] = 0;
        }
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Inflate(pages) => {
                let free =
                    |page: &u32| !self.deflating.as_ref().is_some_and(|it| it.contains(page));
                let pages: BTreeSet<u32> = pages.iter().copied().filter(free).collect();
                if pages.is_empty() {
                    return;
                }
                let unmapped = self.unmapped(pages.clone());
                assert!(self.machine.send(0, &Self::numbers(&pages)), "inflating never waits");
                self.in_balloon.extend(pages);
                if !self.tells() {
                    unmapped.into_iter().for_each(|page| self.give_up(page));
                }
            }
            Step::Deflate(pages) if self.deflating.is_none() => {
                match self.machine.send(1, &Self::numbers(pages)) {
                    true => self.deflated(pages),
                    false => self.deflating = Some(pages.clone()),
                }
            }
            Step::Deflate(_) => {}
            Step::Report(first, count) => {
                let mine = |page: &u32| !self.in_balloon.contains(page);
                if !(*first..first + count).all(|page| mine(&page)) {
                    return;
                }
                let unmapped = self.unmapped(*first..first + count);
                let at = u64::from(FIRST + first) * PAGE;
                assert!(self.machine.post(2, &[(at, count * PAGE as u32, WRITE)]));
                unmapped.into_iter().for_each(|page| self.give_up(page));
            }
            Step::Map(who, block, count) => {
                let count = (*count).min(PAGES / BLOCK - block);
                self.machine.world.map(*who, span(block * BLOCK, count * BLOCK));
            }
            Step::Unmap(who, block) => {
                let released = self.machine.world.unmap(*who, span(block * BLOCK, BLOCK));
                self.machine.function.with(|balloon| balloon.gate().released(&released));
                self.machine.function.settle().expect("settled");
            }
            Step::GiveIn => {
                let released = self.machine.world.give_in();
                self.machine.function.with(|balloon| balloon.gate().released(&released));
                self.machine.function.settle().expect("settled");
            }
            Step::BeStubborn(is_stubborn) => self.machine.world.be_stubborn(*is_stubborn),
            Step::StartAnew => {
                self.machine.start(self.features);
                self.deflating = None;
                self.in_balloon.clear();
            }
        }
        if let Some(pages) = self.deflating.clone()
            && self.machine.is_all_answered(1)
        {
            self.deflating = None;
            self.deflated(&pages);
        }
    }

    /// The guest has pages again, and uses them.
    fn deflated(&mut self, pages: &BTreeSet<u32>) {
        for page in pages {
            assert!(self.machine.world.is_guests(span(*page, 1)), "page {page} is not the guest's");
            self.in_balloon.remove(page);
            self.write(*page);
        }
    }

    fn check(&mut self) {
        let refusals = self.machine.function.refusals();
        assert_eq!(refusals.count, 0, "{refusals:?}");
        let figures = self.machine.figures();
        let released = self.machine.world.released();
        let mut free = 0;
        for page in 0..PAGES {
            let here = span(page, 1);
            let is_mapped = self.machine.world.is_mapped(here);
            let is_guests = self.machine.world.is_guests(here);
            let bytes = self.machine.page(FIRST + page);
            let is_in = self.in_balloon.contains(&page);
            // A block that was let go of can be mapped again already, for the sake of another page.
            if is_in && released.contains(here.first()) {
                self.give_up(page);
            }
            let is_as_left = bytes.iter().all(|byte| *byte == self.content[page as usize]);
            assert!(is_guests || !is_mapped, "page {page} is free and mapped");
            if is_mapped && !is_guests || !is_in {
                assert!(is_as_left, "page {page} lost what was in it: {figures:?}");
            }
            if !is_guests {
                free += PAGE;
                assert!(is_in, "page {page} is not the guest's, who has it: {figures:?}");
                assert!(bytes.iter().all(|byte| *byte == 0), "page {page} is not discarded");
                self.content[page as usize] = 0;
            } else if is_mapped {
                assert!(is_as_left, "page {page} was discarded under a device: {figures:?}");
            }
        }
        assert_eq!(figures.given_back_bytes, free, "{figures:?}");
        let all = self.in_balloon.len() as u64 * PAGE;
        match (self.tells(), self.is_narrow) {
            (true, false) => assert_eq!(free + figures.waiting_bytes, all, "{figures:?}"),
            (true, true) => assert!(free + figures.waiting_bytes <= all, "{figures:?}"),
            (false, _) => assert_eq!(free + figures.waiting_bytes, 0, "{figures:?}"),
        }
    }
}

fn run(features: u64, pieces_max: usize, steps: &[Step]) {
    let mut model = Model::new(features | VERSION_1, pieces_max);
    for step in steps {
        model.play(step);
        model.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_guest_that_tells(steps in proptest::collection::vec(step(), 1..60)) {
        run(MUST_TELL_HOST | REPORTING, 1000, &steps);
    }

    #[test]
    fn a_guest_that_does_not_tell(steps in proptest::collection::vec(step(), 1..40)) {
        run(REPORTING, 1000, &steps);
    }

    #[test]
    fn a_balloon_in_few_pieces(steps in proptest::collection::vec(step(), 1..60)) {
        run(MUST_TELL_HOST | REPORTING, 3, &steps);
    }
}

/// Every page by itself, then every other one out: what is remembered stays within bounds.
#[test]
fn a_guest_cannot_have_it_remember_more_than_it_likes() {
    let mut model = Model::new(MUST_TELL_HOST | VERSION_1, 8);
    let every_other: Vec<u32> = (0..PAGES).step_by(2).map(|page| FIRST + page).collect();
    assert!(model.machine.send(0, &every_other));
    let figures = model.machine.figures();
    assert_eq!(figures.given_back_bytes, 8 * PAGE);
    assert_eq!(figures.counts.scattered, u64::from(PAGES / 2) - 8);
    let rest: Vec<u32> = (0..PAGES).map(|page| FIRST + page).collect();
    model.machine.send(1, &rest);
    assert!(model.machine.send(0, &rest));
    assert_eq!(model.machine.figures().given_back_bytes, u64::from(PAGES) * PAGE);
    for page in every_other {
        assert!(model.machine.send(1, &[page]));
        assert!(model.machine.world.is_guests(span(page - FIRST, 1)));
    }
    assert!(model.machine.figures().given_back_bytes <= 8 * PAGE, "{:?}", model.machine.figures());
}
