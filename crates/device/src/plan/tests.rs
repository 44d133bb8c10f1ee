//! Plans of groups of every kind, and their undoing.

use super::*;
use crate::member::Identity;
use crate::place::Place;

fn member(address: &str, class: u32, driver: Option<&str>) -> Member {
    let place = serde_json::from_value::<Place>(format!("0000:00/{address}").into());
    Member {
        address: address.parse().expect("a whole address"),
        place: place.expect("any text is a place"),
        identity: Identity {
            vendor: 0x8086,
            device: 0x10d3,
            subsystem_vendor: 0,
            subsystem_device: 0,
            class,
        },
        driver: driver.map(str::to_string),
        driver_override: None,
        kernel_group: Some(1),
    }
}

fn words(steps: &[Step]) -> Vec<String> {
    steps.iter().map(Step::to_string).collect()
}

#[test]
fn overrides_come_first_and_vfio_last() {
    let plan = ClaimPlan::new(vec![
        member("0000:00:01.0", 0x060400, Some("pcieport")),
        member("0000:01:00.0", 0x020000, Some("e1000e")),
        member("0000:01:00.1", 0x020000, None),
    ]);
    let expected = [
        "let 0000:01:00.0 be taken by vfio-pci only",
        "let 0000:01:00.1 be taken by vfio-pci only",
        "unbind 0000:01:00.0 from e1000e",
        "bind 0000:01:00.0 to vfio-pci",
        "bind 0000:01:00.1 to vfio-pci",
    ];
    assert_eq!(words(&plan.steps), expected);
    assert!(!plan.changes("0000:00:01.0".parse().expect("an address")));
    let undone = [
        "unbind 0000:01:00.1 from vfio-pci",
        "let 0000:01:00.1 be taken by any driver that matches",
        "unbind 0000:01:00.0 from vfio-pci",
        "let 0000:01:00.0 be taken by any driver that matches",
        "bind 0000:01:00.0 to e1000e",
    ];
    assert_eq!(words(&plan.undo(plan.steps.len())), undone);
    let undone =
        ["let 0000:01:00.0 be taken by any driver that matches", "bind 0000:01:00.0 to e1000e"];
    assert_eq!(words(&plan.undo(1)), undone);
    assert_eq!(words(&plan.undo(0)), [""; 0]);
    assert_eq!(plan.undo(usize::MAX), plan.undo(plan.steps.len()), "more than there are is all");
}

#[test]
fn what_vfio_lives_with_stays() {
    for driver in ["vfio-pci", "mlx5_vfio_pci", "pci-stub"] {
        let plan = ClaimPlan::new(vec![member("0000:01:00.0", 0x020000, Some(driver))]);
        assert_eq!(plan.steps, [], "{driver}");
    }
    let host_bridge = ClaimPlan::new(vec![member("0000:00:00.0", 0x060000, None)]);
    assert_eq!(host_bridge.steps, [], "a host bridge without a driver is in nobody's way");
}

#[test]
fn a_bridge_whose_driver_is_in_the_way_goes_without() {
    let plan = ClaimPlan::new(vec![member("0000:00:01.0", 0x060400, Some("shpchp"))]);
    let expected = ["let 0000:00:01.0 be taken by none only", "unbind 0000:00:01.0 from shpchp"];
    assert_eq!(words(&plan.steps), expected);
    let undone =
        ["let 0000:00:01.0 be taken by any driver that matches", "bind 0000:00:01.0 to shpchp"];
    assert_eq!(words(&plan.undo(2)), undone);
}

#[test]
fn an_override_of_before_is_kept_or_given_back() {
    let mut before = member("0000:01:00.0", 0x020000, Some("e1000e"));
    before.driver_override = Some("e1000e".to_string());
    let plan = ClaimPlan::new(vec![before.clone()]);
    assert_eq!(words(&plan.undo(1))[0], "let 0000:01:00.0 be taken by e1000e only");
    before.driver_override = Some("vfio-pci".to_string());
    let plan = ClaimPlan::new(vec![before]);
    assert!(!plan.steps.iter().any(|step| matches!(step, Step::Override { .. })));
}
