//! Catalogues with one thing wrong each.

use super::*;

const RANGES: &str = "//! | `RF0100`–`RF0199` | `ledger` |\n//! | `RF0200`–`RF0299` | `virtio` |\n";

const GOOD: &str = "//! A catalogue.
pub static CATALOGUE: &[&Code] = &[&NOT_GRANTED, &EMPTY];

pub static NOT_GRANTED: Code = Code {
    number: 101,
    name: \"memory not granted\",
    sentence: \"A claim to memory that was not granted: { see number: 7.\",
    remedy: \"Grant it.\",
    page: \"Long \\
           words.\",
};
pub static EMPTY: Code =
    Code { number: 102, name: \"empty\", sentence: \"E.\", remedy: \"R.\", page: PAGE };
";

const TESTS: &str = "//! Tests.\nfn a() { refuses(&NOT_GRANTED); refuses(&refusals::EMPTY) }\n";

const BY_MACRO: &str = "//! A catalogue.
pub static CATALOGUE: &[&Code] = &[&NOT_GRANTED, &EMPTY];

macro_rules! codes { ($($name:ident = $number:literal;)*) => { $(pub static $name: Code = Code {
    number: $number, name: $short, }; )* } }
codes! {
    /// Documented; with a semicolon.
    NOT_GRANTED = 101, \"memory not granted\":
        \"A claim; granted: never.\";
        \"Grant it.\";
        \"Long \
           words.\";
    EMPTY = 102, \"empty\": \"E.\"; \"R.\"; PAGE;
}
";

fn findings(find: fn(&Tree) -> Vec<Finding>, ledger: &str, tests: &str) -> Vec<String> {
    let tree = Tree::of(&[
        (RANGES_FILE, RANGES),
        ("crates/ledger/src/refusals.rs", ledger),
        ("crates/ledger/tests/all.rs", tests),
    ]);
    find(&tree).iter().map(ToString::to_string).collect()
}

fn numbers(ledger: &str) -> Vec<String> {
    findings(find_numbers, ledger, "")
}

#[test]
fn a_good_catalogue_in_either_form_has_nothing_wrong() {
    for catalogue in [GOOD, BY_MACRO, &GOOD.replace("Code =\n    Code {", "Code = Code {")] {
        for find in [find_numbers, find_words, find_untested] {
            assert_eq!(findings(find, catalogue, TESTS), Vec::<String>::new());
        }
        let tree = Tree::of(&[("crates/ledger/src/refusals.rs", catalogue)]);
        let seen: Vec<_> = entries(&tree).iter().map(|entry| (entry.name, entry.number)).collect();
        assert_eq!(seen, [("NOT_GRANTED", Some(101)), ("EMPTY", Some(102))]);
    }
}

#[test]
fn an_entry_in_a_third_form_is_not_passed_over() {
    let third = GOOD.replace("EMPTY: Code =\n    Code {", "EMPTY: Code = make! {");
    let tree = Tree::of(&[("crates/ledger/src/refusals.rs", third.as_str())]);
    assert_eq!(find_words(&tree).len(), 1);
    assert_eq!(findings(find_untested, &third, "fn a() { f(&NOT_GRANTED) }").len(), 1);
}

#[test]
fn a_number_is_not_used_twice_even_by_two_crates() {
    let twice = GOOD.replace("number: 102", "number: 101");
    assert_eq!(
        numbers(&twice),
        ["crates/ledger/src/refusals.rs:12: EMPTY is RF0101, and so is NOT_GRANTED"]
    );
    let tree = Tree::of(&[
        (RANGES_FILE, &RANGES.replace("RF0200", "RF0100")),
        ("crates/ledger/src/refusals.rs", GOOD),
        ("crates/virtio/src/refusals.rs", GOOD),
    ]);
    assert_eq!(find_numbers(&tree).len(), 2);
}

#[test]
fn a_number_is_in_the_range_of_its_crate() {
    let outside = GOOD.replace("number: 102", "number: 202");
    assert_eq!(
        numbers(&outside),
        [
            "crates/ledger/src/refusals.rs:12: EMPTY is RF0202, which is not in the range of `ledger`"
        ]
    );
    let tree = Tree::of(&[("crates/ledger/src/refusals.rs", GOOD)]);
    assert_eq!(find_numbers(&tree).len(), 2, "without a table no number is in range");
}

#[test]
fn a_refusal_is_in_the_catalogue_and_has_a_number() {
    let unlisted = GOOD.replace(", &EMPTY]", "]");
    assert_eq!(numbers(&unlisted), ["crates/ledger/src/refusals.rs:12: EMPTY is not in CATALOGUE"]);
    let unnumbered = GOOD.replace("number: 102", "number: SOME");
    assert_eq!(
        numbers(&unnumbered),
        ["crates/ledger/src/refusals.rs:12: EMPTY has no plain number"]
    );
}

#[test]
fn a_refusal_that_says_nothing_is_found() {
    for (from, to, field) in [
        ("name: \"empty\"", "name: \"\"", "name"),
        ("sentence: \"E.\"", "sentence: \" \"", "sentence"),
        ("remedy: \"R.\"", "remedy: \"-\"", "remedy"),
        ("remedy: \"R.\", ", "", "remedy"),
        ("page: PAGE", "page: \"\\\n \"", "page"),
    ] {
        let silent = GOOD.replace(from, to);
        assert_ne!(silent, GOOD);
        let expected = format!("crates/ledger/src/refusals.rs:12: EMPTY says nothing in: {field}");
        assert_eq!(findings(find_words, &silent, ""), [expected]);
    }
    for (from, to) in [
        ("\"empty\"", "\"\""),
        ("\"E.\"", "\"\""),
        ("\"R.\"", "\"\""),
        ("PAGE", "\"\""),
        ("\"Long", "\"\", \"Long"),
        ("\"memory not granted\"", "\" \""),
    ] {
        assert_eq!(findings(find_words, &BY_MACRO.replace(from, to), "").len(), 1, "{from}");
    }
}

#[test]
fn a_refusal_that_no_test_names_is_found() {
    let expected = ["crates/ledger/src/refusals.rs:12: no test names EMPTY"];
    for tests in [
        "fn a() { f(&NOT_GRANTED) }",
        "fn a() { f(&NOT_GRANTED) } // EMPTY",
        "fn a() { f(&NOT_GRANTED, NOT_EMPTY) }",
    ] {
        assert_eq!(findings(find_untested, GOOD, tests), expected);
    }
    let by_code = "fn a() { f(&NOT_GRANTED, \"RF0102 empty\") }";
    assert_eq!(findings(find_untested, GOOD, by_code), Vec::<String>::new());
    let tree = Tree::of(&[
        ("crates/ledger/src/refusals.rs", GOOD),
        ("crates/ringfence/tests/bad.txt", "RF0101 memory not granted"),
        ("docs/refusals.md", "RF0102 empty"),
    ]);
    assert_eq!(find_untested(&tree).len(), 1);
}

#[test]
fn a_name_two_catalogues_share_is_tested_by_each() {
    let tree = Tree::of(&[
        ("crates/ledger/src/refusals.rs", GOOD),
        ("crates/virtio/src/refusals.rs", &GOOD.replace("number: 1", "number: 2")),
        ("crates/ledger/tests/all.rs", TESTS),
    ]);
    let untested = find_untested(&tree);
    assert_eq!(untested.len(), 2);
    assert!(untested.iter().all(|found| found.path == "crates/virtio/src/refusals.rs"));
}
