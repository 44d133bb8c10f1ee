//! Looking at claims and at what stands in their way: watching, viability, reset sets, holding.

use std::fs;

use ringfence_device::{Breach, breaches, refusals, reset_set, viability};
use ringfence_host::{Fact, Topology};

use crate::failures::{card, code};
use crate::fake::{Host, NETWORK, at};
use crate::kernel::Kernel;

fn read(host: &Host) -> ringfence_host::Host {
    ringfence_host::read::from_path(host.path()).expect("a folder shaped like /")
}

#[test]
fn what_came_in_unasked_is_reported() {
    let host = Host::with_card();
    let kernel = Kernel::of(&host);
    let claim = host.manager(&kernel).claim(&card()).expect("nothing is in the way");
    let found = || breaches(&host.root(), &claim.plan).expect("a host of ours");
    assert_eq!(found(), []);

    // Bound by somebody.
    host.set_driver("0000:01:00.0", Some("igb"));
    let function = at("0000:01:00.0");
    let (driver, expected) = (Some("igb".to_string()), Some("vfio-pci".to_string()));
    let driver = Breach::Driver { function, driver, expected };
    assert_eq!(found(), [driver]);
    host.set_driver("0000:01:00.0", Some("vfio-pci"));

    // An override taken away.
    host.write("sys/bus/pci/devices/0000:01:00.0/driver_override", "(null)\n");
    assert_eq!(found(), [Breach::Override { function, says: None }]);
    host.write("sys/bus/pci/devices/0000:01:00.0/driver_override", "vfio-pci\n");

    // Plugged in: first in no group, then in the claim's, then with a driver.
    host.function("0000:00:01.0", "0000:01:00.2", NETWORK, None);
    let function = at("0000:01:00.2");
    assert_eq!(found(), [Breach::Newcomer { function, driver: None }]);
    host.group(1, &["0000:01:00.2"]);
    assert_eq!(found(), [Breach::Newcomer { function, driver: None }]);
    host.set_driver("0000:01:00.2", Some("igb"));
    let newcomer = Breach::Newcomer { function, driver: Some("igb".to_string()) };
    assert!(newcomer.to_string().contains("the kernel gives the group to nobody"), "{newcomer}");
    assert_eq!(found(), [newcomer]);

    // Pulled out.
    fs::remove_file(host.join("sys/bus/pci/devices/0000:01:00.1")).expect("a link of ours");
    let gone = Breach::Gone { function: at("0000:01:00.1") };
    assert!(found().contains(&gone));
}

#[test]
fn what_the_kernel_put_in_another_group_is_no_newcomer() {
    let host = Host::with_card();
    host.function("0000:00:01.0", "0000:01:00.7", NETWORK, Some("igb"));
    host.group(9, &["0000:01:00.7"]);
    let kernel = Kernel::of(&host);
    let claim = host.manager(&kernel).claim(&card()).expect("nothing is in the way");
    assert_eq!(breaches(&host.root(), &claim.plan).expect("a host of ours"), []);
}

#[test]
fn who_is_in_the_way_is_named_with_its_driver() {
    let host = Host::with_card();
    let seen = |address| viability(&read(&host), at(address)).expect("a function");
    let card = seen("0000:01:00.1");
    assert_eq!(card.is_viable(), Some(false));
    assert_eq!(card.remedies(), ["Take the whole group: ringfence claim 0000:01:00.1."]);
    let blockers: Vec<_> = card.blockers.iter().map(ToString::to_string).collect();
    assert_eq!(blockers, ["0000:01:00.0 is bound to e1000e"]);
    let kernel = Kernel::of(&host);
    host.manager(&kernel).claim(&self::card()).expect("nothing is in the way");
    assert_eq!(seen("0000:01:00.1").is_viable(), Some(true));
    // A bridge with its port driver is in nobody's way, and in nobody's hands.
    let bridge = seen("0000:00:01.0");
    assert_eq!((bridge.blockers.len(), bridge.is_viable()), (0, Some(false)));
    let region = "0x00000000dba40000 0x00000000dba5ffff direct\n";
    host.write("sys/kernel/iommu_groups/1/reserved_regions", region);
    let card = seen("0000:01:00.1");
    assert_eq!(card.direct_regions, ["0x00000000dba40000-0x00000000dba5ffff"]);
    assert_eq!(card.is_viable(), Some(false));
    assert_eq!(card.remedies().len(), 1);
}

#[test]
fn what_was_not_read_of_a_group_is_not_called_viable() {
    let host = Host::with_card();
    let kernel = Kernel::of(&host);
    host.manager(&kernel).claim(&card()).expect("nothing is in the way");
    let mut host = read(&host);
    let sibling = host.functions.get_mut(&at("0000:01:00.0")).expect("a function");
    sibling.driver = Fact::default();
    let seen = viability(&host, at("0000:01:00.1")).expect("a function");
    assert_eq!((seen.is_viable(), seen.unknown.as_slice()), (None, &[at("0000:01:00.0")][..]));
    assert_eq!(viability(&host, at("0000:09:00.0")), None);
}

#[test]
fn what_is_reset_together_is_what_is_below_a_bridge() {
    let host = Host::with_card();
    host.write("sys/bus/pci/devices/0000:01:00.0/reset_method", "flr bus\n");
    let host = read(&host);
    let topology = Topology::of(&host);
    let set = |address| reset_set(&host, &topology, at(address));
    let card = set("0000:01:00.0").expect("a function");
    assert_eq!(card.alone_by, Fact::Known(vec!["flr".to_owned()]));
    assert_eq!(card.together, ["0000:01:00.0", "0000:01:00.1"].map(at));
    let root_bus = set("0000:00:02.0").expect("a function");
    assert_eq!(root_bus.together, [at("0000:00:02.0")]);
    assert_eq!(set("0000:09:00.0"), None);
}

#[test]
fn a_hold_that_fails_says_what_the_kernel_may_mean() {
    let host = Host::with_card();
    let kernel = Kernel::of(&host);
    let manager = host.manager(&kernel);
    let failure = manager.hold(card()[0]).expect_err("not claimed");
    assert_eq!(code(&failure), refusals::NOT_CLAIMED.number);
    manager.claim(&card()).expect("nothing is in the way");
    host.write("dev/vfio/vfio", "");
    let failure = manager.hold(card()[0]).expect_err("no group");
    assert_eq!(code(&failure), refusals::NOT_VIABLE.number);
    assert!(failure.to_string().contains("not bound to vfio-pci"), "{failure}");
    // Who can be seen to be in the way is named instead.
    host.function("0000:00:01.0", "0000:01:00.2", NETWORK, Some("igb"));
    host.group(1, &["0000:01:00.2"]);
    let failure = manager.hold(card()[0]).expect_err("no group");
    assert!(failure.to_string().ends_with("0000:01:00.2 is bound to igb"), "{failure}");
    // What could not be held is not kept from being released.
    manager.release(card()[0]).expect("nobody holds it");
}
