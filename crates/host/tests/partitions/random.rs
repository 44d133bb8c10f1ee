//! Random trees: whatever the host, every model makes a partition, and the models keep their order.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ringfence_addr::PciAddress;
use ringfence_host::{
    AcsBits, Fact, Function, Header, Host, Model, Policy, PortType, Unknown, WhatIf, reached, why,
};

use crate::builder::{Builder, acs};

const STRICT: Model = Model::Strict(Policy::NOTHING_MORE);

/// What a function of a random tree is like.
#[derive(Clone, Debug)]
struct Kind {
    port: u8,
    acs: u8,
    vendor: u8,
    function: u8,
    below: u8,
}

fn kind() -> impl Strategy<Value = Kind> {
    (0..10_u8, 0..6_u8, 0..8_u8, 0..3_u8, 0..9_u8).prop_map(
        |(port, acs, vendor, function, below)| Kind { port, acs, vendor, function, below },
    )
}

/// A host of functions on random buses, some of which lead to others; nothing has to make sense.
fn host() -> impl Strategy<Value = Host> {
    prop::collection::vec((0..8_u8, 0..4_u8, kind()), 1..40).prop_map(|places| {
        let mut builder = Builder::default();
        for (bus, device, kind) in places {
            let address = format!("{bus:02x}:{device:02x}.{}", kind.function);
            describe(builder.endpoint(&address), &kind, bus);
        }
        builder.host
    })
}

fn describe(function: &mut Function, kind: &Kind, bus: u8) {
    let offset = 0x40;
    let port = |port| Fact::Known(Some(ringfence_host::Pcie { offset, port }));
    function.pcie = match kind.port {
        0 => Fact::Known(None),
        1 => port(PortType::RootPort),
        2 => port(PortType::UpstreamPort),
        3 => port(PortType::DownstreamPort),
        4 => port(PortType::PcieToPciBridge),
        5 => port(PortType::RootComplexEndpoint),
        6 => Fact::Unknown(Unknown::NotInSource),
        _ => port(PortType::Endpoint),
    };
    if kind.port < 5 && kind.below > 0 {
        let secondary = bus.wrapping_add(kind.below).wrapping_sub(2);
        function.header = Fact::Known(Header::Bridge { secondary, subordinate: 0xff });
    }
    function.acs = match kind.acs {
        0 => acs(AcsBits::REQUIRED),
        1 => acs(AcsBits::empty()),
        2 => acs(AcsBits::SOURCE_VALIDATION | AcsBits::REQUEST_REDIRECT),
        3 => Fact::Unknown(Unknown::NeedsRoot),
        _ => Fact::Known(None),
    };
    let (vendor, device) = match kind.vendor {
        0 => (0x1b4b, 0x9230),
        1 => (0x8086, 0x1521),
        2 => (0x10b5, 0x87b0),
        _ => (0x1b36, 0x000c),
    };
    function.identity.vendor = Fact::Known(vendor);
    function.identity.device = Fact::Known(device);
    function.multifunction = match kind.below {
        0..=2 => Fact::Known(true),
        3..=5 => Fact::Known(false),
        _ => Fact::Unknown(Unknown::NotInSource),
    };
}

/// Every function is in one group or without, and in no two.
fn is_partition(host: &Host, model: Model) -> Result<(), TestCaseError> {
    let partition = model.partition(host);
    let mut seen: BTreeSet<PciAddress> = partition.without.keys().copied().collect();
    for group in &partition.groups {
        prop_assert!(!group.reasons.is_empty());
        for &address in &group.functions {
            prop_assert!(seen.insert(address), "{model} has {address} twice");
        }
    }
    prop_assert_eq!(seen, host.functions.keys().copied().collect::<BTreeSet<_>>());
    let keys: BTreeSet<_> = partition.groups.iter().map(|group| &group.key).collect();
    prop_assert_eq!(keys.len(), partition.groups.len(), "keys are not unique");
    Ok(())
}

fn check(host: &Host) -> Result<(), TestCaseError> {
    for model in Model::ALL {
        is_partition(host, model)?;
    }
    let strict = STRICT.partition(host);
    let linux = Model::Linux612.partition(host);
    for group in &linux.groups {
        let of = |address| strict.group_of(address).map(|group| &group.functions);
        let first = of(group.functions[0]);
        for &address in &group.functions {
            prop_assert_eq!(of(address), first, "strict parts {:?}", &group.functions);
        }
    }
    for &address in host.functions.keys() {
        let group = strict.group_of(address).expect("strict leaves none out");
        for other in reached(host, STRICT, address) {
            let (from, to) = (&host.functions[&address], &host.functions[&other]);
            let is_host_bridge = |function: &Function| {
                function
                    .identity
                    .class
                    .known()
                    .is_some_and(|class| (class.base, class.sub) == (6, 0))
            };
            let is_with = group.functions.contains(&other);
            prop_assert!(
                is_with || is_host_bridge(from) || is_host_bridge(to),
                "{address} reaches {other}"
            );
        }
    }
    Ok(())
}

fn runner() -> TestRunner {
    TestRunner::new(Config { failure_persistence: None, ..Config::default() })
}

pub(crate) fn models_keep_their_order() {
    let mut runner = runner();
    runner.run(&host(), |host| check(&host)).expect("it holds for every host");
}

pub(crate) fn offered_changes_part() {
    let mut runner = runner();
    let outcome = runner.run(&host(), |host| {
        for &address in host.functions.keys().take(4) {
            let why = why(&host, Model::Linux612, address).expect("an answer");
            let Some(change) = why.change else { continue };
            let text = change.what_if.expect("it can be tried");
            let group = why.group.expect("a group").functions.len();
            let mut changed = host.clone();
            let mut words = text.split_whitespace();
            while let (Some(verb), Some(what)) = (words.next(), words.next()) {
                let change = match verb {
                    "--set" => WhatIf::parse_set(what),
                    _ => WhatIf::parse_move(what),
                };
                let change = change.expect("what is offered can be read");
                changed = change.apply(&changed).expect("what is offered can be made");
            }
            let after = Model::Linux612.partition(&changed);
            let before = Model::Linux612.partition(&host);
            prop_assert!(group > 1);
            prop_assert_ne!(after.sets(), before.sets(), "{}", text);
        }
        Ok(())
    });
    outcome.expect("it holds for every host");
}
