//! Any host, any request: planner, checker and model never disagree.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ringfence_host::{Fact, HostMemory, Owners, RegionKind, Role};
use ringfence_plan::check::check;
use ringfence_plan::{Assigned, Machine, Request, plan};
use std::num::NonZeroU64;

use crate::corrupt::CORRUPTIONS;
use crate::model::holds;
use crate::strategy::{FUNCTIONS, GIB, STRANGER, at, hosts, region, request};
use crate::told::is_told;

/// `cargo xtask test --long` sets it to 1.
fn is_long() -> bool {
    std::env::var("RINGFENCE_LONG").is_ok_and(|value| value == "1")
}

fn runner(short: u32, long: u32) -> TestRunner {
    let cases = if is_long() { long } else { short };
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

fn text(hosts: &[HostMemory], request: &Request) -> String {
    let answer = plan(hosts, request);
    answer.map_or_else(|refusals| format!("{refusals:?}"), |plan| format!("{plan:?}"))
}

pub(crate) fn plans_are_accepted() {
    let planned = Cell::new(0_u32);
    let all = Cell::new(0_u32);
    let told = Cell::new(0_u32);
    let result = runner(10_000, 1_000_000).run(&(hosts(), request()), |(hosts, request)| {
        all.set(all.get() + 1);
        match plan(&hosts, &request) {
            Ok(plan) => {
                planned.set(planned.get() + 1);
                let found = check(&hosts, &request, &plan);
                prop_assert!(found.is_empty(), "{}\n{plan:#?}", lines(&found));
                let held = holds(&hosts, &request, &plan);
                prop_assert!(held.is_ok(), "{held:?}\n{plan:#?}");
                let is_told = is_told(&plan);
                prop_assert!(is_told.is_ok(), "{is_told:?}\n{plan:#?}");
                told.set(told.get() + u32::from(is_told == Ok(true)));
            }
            Err(refusals) => prop_assert!(!refusals.is_empty(), "refused without a reason"),
        }
        Ok(())
    });
    let (made, tables) = (planned.get(), told.get());
    println!("{made} of {} requests planned, {tables} with a table for the guest", all.get());
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(planned.get() * 4 > all.get(), "most are refused: nothing is tested");
    assert!(told.get() > 0, "no guest's IOMMU is told anything");
}

fn lines(found: &[ringfence_plan::check::Violation]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(crate) fn irrelevant_changes_move_nothing() {
    let inputs = (hosts(), request(), any::<u64>(), 0_u64..GIB, any::<prop::sample::Index>());
    let result =
        runner(1_000, 100_000).run(&inputs, |(mut hosts, request, first, length, place)| {
            let before = text(&hosts, &request);
            prop_assert_eq!(&before, &text(&hosts, &request), "asked twice");
            for host in &mut hosts {
                host.regions.reverse();
                let owners = Owners::These([at(STRANGER)].into());
                let last = first.saturating_add(length);
                let more = region(first, last, RegionKind::Direct, owners, Role::Other);
                let place = place.index(host.regions.len() + 1);
                host.regions.insert(place, more);
            }
            prop_assert_eq!(before, text(&hosts, &request), "in another order, with one more");
            Ok(())
        });
    if let Err(error) = result {
        panic!("{error}");
    }
}

pub(crate) fn no_corruption_survives() {
    let tried: Vec<_> = CORRUPTIONS.iter().map(|_| Cell::new(0_u32)).collect();
    let inputs = (hosts(), request(), any::<prop::sample::Index>());
    let result = runner(1_500, 100_000).run(&inputs, |(hosts, request, place)| {
        let Ok(plan) = plan(&hosts, &request) else { return Ok(()) };
        for ((name, corrupt), tried) in CORRUPTIONS.iter().zip(&tried) {
            let mut wrong = plan.clone();
            if corrupt(&mut wrong, &hosts, &request, place).is_none() {
                continue;
            }
            tried.set(tried.get() + 1);
            prop_assert_ne!(&wrong, &plan, "{} changes nothing", name);
            let found = check(&hosts, &request, &wrong);
            prop_assert!(!found.is_empty(), "{name} survives\n{wrong:#?}");
        }
        Ok(())
    });
    for ((name, _), tried) in CORRUPTIONS.iter().zip(&tried) {
        println!("{:6} times {name}", tried.get());
    }
    if let Err(error) = result {
        panic!("{error}");
    }
    for ((name, _), tried) in CORRUPTIONS.iter().zip(&tried) {
        assert!(tried.get() > 0, "{name} was never tried");
    }
}

/// No table is so long that a plan takes for ever.
pub(crate) fn many_regions_are_planned() {
    let owners = || Owners::These([at(FUNCTIONS[1])].into());
    let regions = (0..10_000_u64).map(|place| {
        let first = 0x1000_0000 + (place << 18);
        region(first, first + 0x1_0000 - 1, RegionKind::Relaxable, owners(), Role::Usb)
    });
    let host = HostMemory {
        regions: regions.collect(),
        address_bits: Fact::Known(39),
        ..HostMemory::default()
    };
    for machine in Machine::ALL {
        let mut request = Request::new(NonZeroU64::new(4 * GIB).unwrap(), machine);
        request.devices = vec![Assigned { address: at(FUNCTIONS[1]), policy: None, guest: None }];
        let hosts = [host.clone()];
        let plan = plan(&hosts, &request).unwrap();
        let found = check(&hosts, &request, &plan);
        assert!(found.is_empty(), "{}", lines(&found));
    }
}
