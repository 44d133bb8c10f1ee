//! Real inputs, changed: any bytes give a host or a refusal.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ringfence_host::read;

use crate::data;
use crate::trees::Tree;

/// What happens to a file on its way.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Remove(usize, usize),
    Repeat(usize, usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<usize>(), 1..2000_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<usize>(), 1..2000_usize).prop_map(|(at, count)| Change::Repeat(at, count)),
    ];
    proptest::collection::vec(change, 1..12)
}

fn apply(bytes: &mut Vec<u8>, changes: &[Change]) {
    for change in changes {
        let length = bytes.len().max(1);
        match *change {
            Change::Set(at, byte) => {
                if let Some(place) = bytes.get_mut(at % length) {
                    *place = byte;
                }
            }
            Change::Remove(at, count) => {
                let first = at % length;
                bytes.drain(first.min(bytes.len())..(first + count).min(bytes.len()));
            }
            Change::Repeat(at, count) => {
                let first = (at % length).min(bytes.len());
                let again = bytes[first..(first + count).min(bytes.len())].to_vec();
                bytes.extend(again);
            }
        }
    }
}

fn check(name: &str, original: &[u8]) {
    let mut runner =
        TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    runner
        .run(&changes(), |changes| {
            let mut bytes = original.to_vec();
            apply(&mut bytes, &changes);
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
            if let Ok(host) = read::from_bytes(bytes) {
                prop_assert!(host.functions.len() <= lines);
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Every listing, every capture, and snapshots of them.
pub(crate) fn any_change_is_read_or_refused() {
    for path in data::files("real", ".lspci.txt").into_iter().chain(data::files("oracle", ".txt")) {
        check(&data::name(&path), &std::fs::read(&path).expect("a readable file"));
    }
    for name in ["i6-sriov.txt", "a1-amd.txt", "v2-virtio-bypass.txt"] {
        let tree = Tree::of_capture(name);
        let taken = read::Snapshot::take(tree.root(), read::Options::default());
        let (snapshot, _) = taken.expect("a tree with functions");
        check(name, snapshot.as_text().as_bytes());
    }
}
