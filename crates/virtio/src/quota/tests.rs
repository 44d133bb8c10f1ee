//! The meter against a plain reference in fractions of no unit, over times that a test sets.

use proptest::prelude::*;

use super::*;

fn quota(requests: u64, bytes: u64) -> Quota {
    Quota {
        requests_per_second: NonZeroU64::new(requests),
        bytes_per_second: NonZeroU64::new(bytes),
    }
}

/// How many requests of `bytes` a meter lets through at `now`, up to `most`.
fn take_all(meter: &mut Meter, now: Duration, bytes: u64, most: u64) -> u64 {
    let mut taken = 0;
    while taken < most && meter.allows(now) == Verdict::Take {
        meter.take(bytes);
        taken += 1;
    }
    taken
}

#[test]
fn without_a_number_there_is_no_limit() {
    let mut meter = Meter::new(Quota::default());
    assert!(!meter.limits());
    assert_eq!(take_all(&mut meter, Duration::ZERO, u64::MAX, 1000), 1000);
    assert_eq!(meter.wait(Duration::ZERO), None);
}

#[test]
fn a_burst_is_a_second_and_then_it_is_the_rate() {
    for (rate, bytes, second) in [(100, 0, 100), (0, 4096, 4), (1, 0, 1), (3, 1 << 20, 3)] {
        let mut meter = Meter::new(quota(rate, bytes));
        let mut now = Duration::ZERO;
        assert_eq!(take_all(&mut meter, now, 1024, 1000), second, "{rate} {bytes}");
        for step in 0..10 {
            now += Duration::from_secs(1);
            assert_eq!(take_all(&mut meter, now, 1024, 1000), second, "{rate} {bytes} {step}");
        }
        now += Duration::from_secs(100);
        assert_eq!(take_all(&mut meter, now, 1024, 1000), second, "a bucket holds no more");
    }
}

#[test]
fn a_request_larger_than_a_second_is_a_matter_of_time() {
    let mut meter = Meter::new(quota(0, 1000));
    assert_eq!(meter.allows(Duration::ZERO), Verdict::Take);
    meter.take(10_000);
    assert_eq!(meter.allows(Duration::ZERO), Verdict::Wait { begins: true });
    assert_eq!(meter.wait(Duration::ZERO), Some(Duration::from_millis(9001)));
    let early = Duration::from_millis(9000);
    assert_eq!(meter.allows(early), Verdict::Wait { begins: false });
    assert_eq!(meter.wait(early), Some(Duration::from_millis(1)));
    assert_eq!(meter.allows(Duration::from_millis(9001)), Verdict::Take);
}

#[test]
fn what_is_given_back_can_be_taken_but_no_more_than_a_second() {
    let mut meter = Meter::new(quota(0, 1000));
    meter.take(1000);
    meter.give_back(600);
    assert_eq!(take_all(&mut meter, Duration::ZERO, 100, 1000), 6);
    meter.give_back(u64::MAX);
    let later = meter.wait(Duration::ZERO).expect("it waits");
    assert_eq!(take_all(&mut meter, later, 100, 1000), 10);
}

#[test]
fn a_pause_is_never_so_short_that_it_is_none() {
    let mut meter = Meter::new(quota(u64::MAX, u64::MAX));
    meter.take(u64::MAX);
    meter.take(u64::MAX);
    assert!(matches!(meter.allows(Duration::ZERO), Verdict::Wait { begins: true }));
    assert!(meter.wait(Duration::ZERO) >= Some(PAUSE_LEAST));
}

#[test]
fn a_clock_that_goes_back_gives_nothing() {
    let mut meter = Meter::new(quota(10, 0));
    let late = Duration::from_secs(5);
    assert_eq!(take_all(&mut meter, late, 0, 100), 10);
    assert_eq!(take_all(&mut meter, Duration::ZERO, 0, 100), 0);
    assert_eq!(take_all(&mut meter, late, 0, 100), 0);
}

/// The same by the plain meaning: what there is after each step, exactly, in billionths.
struct Reference {
    rate: i128,
    left: i128,
}

impl Reference {
    const WHOLE: i128 = 1_000_000_000;

    fn pass(&mut self, nanoseconds: u64) {
        let full = self.rate * Self::WHOLE;
        self.left = (self.left + i128::from(nanoseconds) * self.rate).min(full);
    }
}

proptest! {
    /// Never more than the plain meaning allows; and, whenever the meter's own pause is waited
    /// for, a request.
    #[test]
    fn it_allows_what_the_plain_meaning_allows(
        rates in (1u64..5000, 1u64..5_000_000),
        steps in prop::collection::vec((0u64..50_000_000, 0u64..100_000, any::<bool>()), 1..300),
    ) {
        let (rate, bytes_rate) = rates;
        let mut meter = Meter::new(quota(rate, bytes_rate));
        let full = |rate: u64| Reference {
            rate: rate.into(),
            left: i128::from(rate) * Reference::WHOLE,
        };
        let (mut requests, mut all) = (full(rate), full(bytes_rate));
        let mut now = Duration::ZERO;
        let (mut taken, mut moved, mut largest) = (0u128, 0u128, 0u128);
        for (passes, bytes, patient) in steps {
            let wait = meter.wait(now).filter(|_| patient);
            let passes = match wait {
                Some(wait) => u64::try_from(wait.as_nanos()).expect("short"),
                None => passes,
            };
            now += Duration::from_nanos(passes);
            requests.pass(passes);
            all.pass(passes);
            let may = requests.left >= Reference::WHOLE && all.left >= Reference::WHOLE;
            let due = meter.wait(now).is_none_or(|wait| wait.is_zero());
            match meter.allows(now) {
                Verdict::Take => {
                    prop_assert!(may, "a request too many at {now:?}");
                    meter.take(bytes);
                    requests.left -= Reference::WHOLE;
                    all.left -= i128::from(bytes) * Reference::WHOLE;
                    taken += 1;
                    moved += u128::from(bytes);
                    largest = largest.max(bytes.into());
                }
                Verdict::Wait { .. } => {
                    prop_assert!(wait.is_none(), "waited in vain until {now:?}");
                    prop_assert!(!may || !due, "a request held back at {now:?}");
                    prop_assert!(meter.wait(now).is_some_and(|wait| !wait.is_zero()));
                }
            }
            // The promise as it is given: a second's worth, the rate since, and one request.
            let seconds = now.as_nanos() + NANOSECONDS;
            prop_assert!(taken * NANOSECONDS <= u128::from(rate) * seconds);
            let most = u128::from(bytes_rate) * seconds + largest * NANOSECONDS;
            prop_assert!(moved * NANOSECONDS <= most);
        }
    }
}
