//! A VMM that shrinks the file of its guest's memory under the broker: the broker of its own device
//! is the price, and nobody else's.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::kit::*;

/// Says that this process is to be the one that ends.
const VICTIM: &str = "RINGFENCE_TEST_SHRINKS";

const NAME: &str = "hostile_frontend::shrinking::memory_that_shrinks_ends_its_own_broker_only";

const SIGBUS: i32 = 7;

/// Publishes a request, takes the memory away, and kicks.
fn shrink() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).expect("no core file");
    let mut world = World::default();
    world.round_trip(1);
    let head = world.driver.chain(0, &[from_guest(0x10_0000, 8)]);
    world.driver.offer(head);
    world.driver.publish();
    rustix::fs::ftruncate(world.frontend.memory.file(), 0).expect("it is not sealed");
    world.driver.kick();
    std::thread::sleep(PATIENCE);
    // Not by way of the destructors, which would look into memory that is gone.
    std::process::exit(0);
}

#[test]
fn memory_that_shrinks_ends_its_own_broker_only() {
    if std::env::var_os(VICTIM).is_some() {
        return shrink();
    }
    let mut world = World::default();
    world.round_trip(1);
    // What a process that dies leaves in the file system is ours to remove.
    let folder = world.stand.folder().join("victim");
    std::fs::create_dir(&folder).expect("a folder");
    let program = std::env::current_exe().expect("this program has a path");
    let victim = Command::new(program)
        .args(["--exact", NAME])
        .env(VICTIM, "1")
        .env("TMPDIR", &folder)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&victim.stdout);
    assert_eq!(victim.status.signal(), Some(SIGBUS), "{}: {said}", victim.status);
    world.round_trip(2);
    world.serves_the_next();
}
