//! Journals whole, torn and garbled.

use super::*;
use crate::plan::Step;

fn plan() -> ClaimPlan {
    let function = "0000:01:00.0".parse().expect("an address");
    let driver = "vfio-pci".to_string();
    let steps = vec![
        Step::Override { function, to: Some(driver.clone()) },
        Step::Probe { function, driver },
    ];
    ClaimPlan { members: Vec::new(), steps }
}

fn records() -> Vec<Record> {
    vec![
        Record::Begin { boot: "b".to_string(), plan: plan(), strength: Strength::Held },
        Record::Doing { step: 0 },
        Record::Doing { step: 1 },
        Record::Claimed,
        Record::Undoing { why: "released".to_string() },
    ]
}

fn text(records: &[Record]) -> String {
    (0..).zip(records).map(|(number, record)| line(number, record)).collect()
}

fn phase(records: &[Record]) -> Result<Option<Phase>, &'static str> {
    Ok(Story::of(records.to_vec())?.map(|story| story.phase))
}

#[test]
fn the_checksum_is_the_known_one() {
    assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
}

#[test]
fn records_come_back_and_tell_how_far_it_went() {
    let all = records();
    assert_eq!(parse(text(&all).as_bytes()), Ok((all.clone(), text(&all).len())));
    let phases = [
        None,
        Some(Phase::Begun(0)),
        Some(Phase::Begun(1)),
        Some(Phase::Begun(2)),
        Some(Phase::Claimed),
        Some(Phase::Undoing(2)),
    ];
    for (count, expected) in phases.into_iter().enumerate() {
        assert_eq!(phase(&all[..count]), Ok(expected), "{count} records");
    }
}

#[test]
fn a_claim_that_stands_can_be_locked_another_way_and_no_other() {
    let lock = Record::Lock { strength: Strength::Watched };
    let strength = |records: &[Record]| {
        let story = Story::of(records.to_vec()).expect("in order").expect("begun");
        (story.phase, story.strength)
    };
    let mut all = records()[..4].to_vec();
    assert_eq!(strength(&all), (Phase::Claimed, Strength::Held));
    all.push(lock.clone());
    assert_eq!(strength(&all), (Phase::Claimed, Strength::Watched));
    all.push(Record::Undoing { why: "released".to_string() });
    assert_eq!(strength(&all), (Phase::Undoing(2), Strength::Watched));
    all.push(lock.clone());
    assert!(phase(&all).is_err(), "it is being given back");
    assert!(phase(&[records()[0].clone(), lock]).is_err(), "it does not stand yet");
    // Journals were written before there was a choice.
    let old = r#"{"record":"begin","boot":"b","plan":{"members":[],"steps":[]}}"#;
    let old: Record = serde_json::from_str(old).expect("a record");
    assert!(matches!(old, Record::Begin { strength: Strength::Held, .. }), "{old:?}");
}

#[test]
fn a_last_line_torn_anywhere_was_not_written() {
    let all = records();
    let whole = text(&all);
    let before = text(&all[..4]).len();
    for cut in before..whole.len() {
        assert_eq!(
            parse(&whole.as_bytes()[..cut]),
            Ok((all[..4].to_vec(), before)),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_bit_flipped_before_the_last_line_is_found() {
    let all = records();
    let whole = text(&all).into_bytes();
    let before = text(&all[..4]).len();
    for at in 0..before - 1 {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        // Two lines can become one, which is then not the last either.
        assert!(parse(&bytes).is_err(), "byte {at} changed");
    }
}

#[test]
fn records_in_no_order_of_ours_tell_nothing() {
    let all = records();
    let wrong = [
        vec![all[1].clone()],
        vec![all[0].clone(), all[0].clone()],
        vec![all[0].clone(), all[2].clone()],
        vec![all[0].clone(), all[1].clone(), all[3].clone()],
        vec![all[0].clone(), all[4].clone(), all[1].clone()],
        vec![all[0].clone(), all[1].clone(), all[2].clone(), Record::Doing { step: 2 }],
    ];
    for records in wrong {
        assert!(phase(&records).is_err(), "{records:?}");
    }
}
