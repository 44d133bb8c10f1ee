//! Every fuzz target without a fuzzer: over the inputs kept and a bounded number of others from a
//! fixed seed; and with a guard off, where it must find what the guard is for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ringfence_virtio::fuzzing::{TARGETS, target};
use ringfence_virtio::{Guard, Guards};

/// Inputs made from the seed, for each target.
const MADE: u32 = 1000;

/// The longest of them.
const LENGTH_MAX: u64 = 400;

/// Targets count the descriptors of this process, so there is one at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Numbers from a fixed seed (xorshift64).
struct Seed(u64);

impl Seed {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("below 256")
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("an index")
    }
}

fn kept(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = std::fs::read_dir(&folder).expect("inputs are kept for every target");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).expect("it is read"));
    paths.into_iter().map(read).collect()
}

/// The next input: random bytes, or one that is kept with a few bytes changed or two of them joined.
fn made(seed: &mut Seed, kept: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    if kept.is_empty() || seed.below(4) == 0 {
        return (0..seed.below(LENGTH_MAX)).map(|_| seed.byte()).collect();
    }
    let mut input = kept[seed.index(kept.len())].1.clone();
    if seed.below(4) == 0 {
        input.truncate(seed.index(input.len() + 1));
        input.extend(&kept[seed.index(kept.len())].1);
    }
    for _ in 0..=seed.below(4) {
        let at = seed.index(input.len().max(1));
        match (seed.below(3), input.get_mut(at)) {
            (0, Some(byte)) => *byte = seed.byte(),
            (1, Some(_)) => drop(input.remove(at)),
            _ => input.insert(at, seed.byte()),
        }
    }
    input
}

/// Runs inputs until one makes the target panic; which one that was, and what it said.
fn find(name: &str, run: impl Fn(&[u8])) -> Option<String> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let panics = |input: &[u8]| {
        let ended = catch_unwind(AssertUnwindSafe(|| run(input)));
        let said = ended.err()?;
        let text = said.downcast_ref::<String>().cloned();
        Some(text.or_else(|| Some((*said.downcast_ref::<&str>()?).to_owned())).unwrap_or_default())
    };
    let kept = kept(name);
    for (path, input) in &kept {
        if let Some(said) = panics(input) {
            return Some(format!("{}: {said}", path.display()));
        }
    }
    let mut seed = Seed(0x5eed_0ffe_4ce5);
    (0..MADE).find_map(|_| {
        let input = made(&mut seed, &kept);
        Some(format!("{input:02x?}: {}", panics(&input)?))
    })
}

fn found(name: &str, guards: Guards) -> Option<String> {
    let run = target(name);
    find(name, |input| run(guards, input))
}

/// A reader of hosts ends with a value or a refusal.
fn reads(name: &str) {
    if let Some(found) = find(name, |input| ringfence_host::read::run_target(name, input)) {
        panic!("{name}: {found}");
    }
}

/// A reader of tables ends with a table that writes the same bytes, or a refusal.
fn keeps(name: &str) {
    if let Some(found) = find(name, |input| ringfence_tables::run_target(name, input)) {
        panic!("{name}: {found}");
    }
}

fn holds(name: &str) {
    if let Some(found) = found(name, Guards::default()) {
        panic!("{name}: {found}");
    }
}

/// The target finds the lack of a guard, and says what was broken.
fn finds(name: &str, guard: Guard, broken: &str) {
    match found(name, Guards::without(guard)) {
        Some(found) => assert!(found.contains(broken), "{name} without {guard:?}: {found}"),
        None => panic!("{name} does not notice that {guard:?} is off"),
    }
}

#[test]
fn every_target_is_run_here_and_has_a_program() {
    let here = ["vmm_frames", "backend_frames", "backend_rings", "guest_rings"];
    assert_eq!(TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), here);
    let readers = ["host_config_space", "host_lspci", "host_snapshot", "host_capture"];
    let hosts = ringfence_host::read::TARGETS;
    assert_eq!(hosts.iter().map(|(name, _)| *name).collect::<Vec<_>>(), readers);
    let tables = ["tables_dmar", "tables_ivrs", "tables_iort", "tables_viot", "tables_maps"];
    let of_tables = ringfence_tables::TARGETS;
    assert_eq!(of_tables.iter().map(|(name, _)| *name).collect::<Vec<_>>(), tables);
    let clients = ["vfio_user_server"];
    let of_clients = ringfence_vfio_user::fuzzing::TARGETS;
    assert_eq!(of_clients.iter().map(|(name, _)| *name).collect::<Vec<_>>(), clients);
    for name in here.into_iter().chain(readers).chain(tables).chain(clients) {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("targets/{name}.rs"));
        assert!(program.exists(), "{}", program.display());
    }
}

#[test]
fn frames_from_the_vmm() {
    holds("vmm_frames");
}

#[test]
fn frames_from_the_backend() {
    holds("backend_frames");
}

#[test]
fn rings_from_the_backend() {
    holds("backend_rings");
}

#[test]
fn rings_from_the_guest() {
    holds("guest_rings");
}

#[test]
fn config_space_of_a_function() {
    reads("host_config_space");
}

#[test]
fn what_lspci_printed() {
    reads("host_lspci");
}

#[test]
fn snapshots() {
    reads("host_snapshot");
}

#[test]
fn captures_of_a_console() {
    reads("host_capture");
}

#[test]
fn tables_of_intel() {
    keeps("tables_dmar");
}

#[test]
fn tables_of_amd() {
    keeps("tables_ivrs");
}

#[test]
fn tables_of_arm() {
    keeps("tables_iort");
}

#[test]
fn tables_of_virtual_iommus() {
    keeps("tables_viot");
}

#[test]
fn memory_maps_and_reservations() {
    keeps("tables_maps");
}

#[test]
fn clients_of_a_served_device() {
    let run = |input: &[u8]| ringfence_vfio_user::fuzzing::run_target("vfio_user_server", input);
    if let Some(found) = find("vfio_user_server", run) {
        panic!("vfio_user_server: {found}");
    }
}

#[test]
fn a_guest_out_of_its_memory_is_found() {
    finds("guest_rings", Guard::Memory, "");
}

/// Invariant `read-once`: the same race as against a real thread, but without luck.
#[test]
fn a_guest_that_races_is_found() {
    finds("guest_rings", Guard::ReadOnce, "a secret in the window");
}

#[test]
fn bytes_that_were_not_published_are_found() {
    finds("backend_rings", Guard::Published, "a secret in the window");
}

#[test]
fn a_completion_of_nothing_is_found() {
    finds("backend_rings", Guard::Outstanding, "");
}

#[test]
fn an_answer_too_long_is_found() {
    finds("backend_rings", Guard::UsedLength, "");
}
