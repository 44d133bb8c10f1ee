//! Backends that die, and their successors.

use std::time::Duration;

use ringfence_virtio::refusals;

use crate::kit::*;

/// The end of the window, where nothing is unless it is full.
const LAST: usize = (1 << 20) - 16;

/// A world whose fence looks for successors for `patience`.
fn world(patience: Duration) -> World {
    let mut setup = Setup::default();
    setup.options.patience = patience;
    World::new(setup)
}

/// Publishes `count` requests and takes all of them at the backend.
fn begin(world: &mut World, count: u16) -> Vec<Popped> {
    world.publish(count);
    (0..count).map(|_| world.stand.backend.wait_pop(0)).collect()
}

fn succeed(world: &mut World) {
    world.stand.backend.die();
    let socket = world.stand.folder().join("backend");
    std::fs::remove_file(&socket).expect("its socket stays behind");
    world.stand.backend = TestBackend::new(&socket, Offer::default(), honest());
}

#[test]
fn a_successor_gets_what_was_in_flight_in_order_and_in_a_new_window() {
    let mut world = world(Duration::from_secs(10));
    let popped = begin(&mut world, 4);
    let before = world.stand.backend.window();
    world.stand.backend.echo(0, &popped[1]);
    assert_eq!(world.driver.wait_used().0, 2);
    // What a backend leaves in its window is nothing to its successor.
    before.memory.write(LAST, b"left behind");
    succeed(&mut world);
    for number in [1, 3, 4u8] {
        let popped = world.stand.backend.wait_pop(0);
        assert_eq!(world.stand.backend.read(&popped.readable), [number; 8]);
        world.stand.backend.echo(0, &popped);
        assert_eq!(world.driver.wait_used(), (u32::from(number - 1) * 2, 8));
    }
    assert_eq!(world.stand.backend.window().memory.read(LAST, 11), [0; 11]);
    let counters = world.stand.counters();
    assert_eq!((counters.reconnects, counters.replayed), (1, 3));
    assert_eq!(world.frontend.stop(0), 4);
}

#[test]
fn what_a_backend_completed_before_it_died_is_not_given_again() {
    let mut world = world(Duration::from_secs(10));
    let popped = begin(&mut world, 2);
    popped.iter().for_each(|popped| world.stand.backend.echo(0, popped));
    succeed(&mut world);
    assert_eq!((world.driver.wait_used().0, world.driver.wait_used().0), (0, 2));
    until("a successor", || (world.stand.counters().reconnects == 1).then_some(()));
    world.round_trip(7);
    assert_eq!(world.stand.counters().replayed, 0);
}

#[test]
fn a_queue_is_not_stopped_with_a_hole_in_what_it_leaves_to_the_guest() {
    let mut world = world(Duration::from_secs(10));
    let popped = begin(&mut world, 3);
    world.stand.backend.echo(0, &popped[1]);
    assert_eq!(world.driver.wait_used().0, 2);
    succeed(&mut world);
    until("a successor", || (world.stand.counters().reconnects == 1).then_some(()));
    let World { frontend, stand, .. } = &mut world;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let again: Vec<Popped> = (0..2).map(|_| stand.backend.wait_pop(0)).collect();
            std::thread::sleep(Duration::from_millis(30));
            again.iter().for_each(|popped| stand.backend.echo(0, popped));
        });
        // Going back by two would give the second request, long done, back to the guest.
        assert_eq!(frontend.stop(0), 3);
    });
}

#[test]
fn nor_when_its_successor_does_nothing() {
    let mut setup = Setup::default();
    setup.options.patience = Duration::from_secs(10);
    setup.options.drain_deadline = Duration::from_millis(100);
    let mut world = World::new(setup);
    let popped = begin(&mut world, 3);
    world.stand.backend.echo(0, &popped[1]);
    assert_eq!(world.driver.wait_used().0, 2);
    succeed(&mut world);
    until("a successor", || (world.stand.counters().reconnects == 1).then_some(()));
    // Of the two it never began only the last can go back; before that is one long done.
    assert_eq!(world.frontend.stop(0), 2);
}

#[test]
fn a_backend_that_does_not_come_back_is_given_up() {
    let mut world = world(Duration::from_millis(50));
    begin(&mut world, 1);
    world.stand.backend.die();
    let refusal = world.stand.refused_since(1, &refusals::BACKEND_GIVEN_UP);
    assert!(refusal.detail().contains("none came back within 50ms"), "{refusal}");
    let offered = world.frontend.offered;
    let features = vhost::vhost_user::message::FrontendReq::GET_FEATURES;
    assert_eq!(world.frontend.ask_number(features), offered, "the VMM is served on");
}

#[test]
fn backends_that_die_of_a_request_are_given_up() {
    let mut world = world(Duration::from_secs(60));
    begin(&mut world, 1);
    for _ in 0..8 {
        succeed(&mut world);
        // Each gets the request, and dies of it.
        world.stand.backend.wait_pop(0);
    }
    world.stand.backend.die();
    // Nine ends were noticed, and then that it is enough.
    let refusal = world.stand.refused_since(9, &refusals::BACKEND_GIVEN_UP);
    assert!(refusal.detail().contains("without completing a request"), "{refusal}");
}

#[test]
fn a_vmm_that_comes_between_two_lives_of_its_backend_is_served() {
    let mut world = world(Duration::from_secs(10));
    world.round_trip(1);
    let World { frontend, driver, mut stand } = world;
    drop(frontend);
    drop(driver);
    stand.backend.die();
    let socket = stand.folder().join("backend");
    std::fs::remove_file(&socket).expect("its socket stays behind");
    let listens = stand.socket();
    let next = std::thread::spawn(move || super::kit::Frontend::connect(&listens, 0));
    until("the VMM to be waited with", || (stand.counters().sessions == 2).then_some(()));
    stand.backend = TestBackend::new(&socket, Offer::default(), honest());
    let frontend = next.join().expect("the VMM is not refused");
    assert_ne!(frontend.offered, 0);
}
