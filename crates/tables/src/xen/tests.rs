//! Tests of what Xen makes of tables.

use super::*;
use crate::made::{bus_unit, dmar, endpoint, ivmd, ivrs, rmrr, unit};

#[test]
fn xen_rounds_outward() {
    let table = dmar(vec![unit(), rmrr(0x2e00_0800, 0x2e00_0fff, endpoint(4))]);
    let xen = as_xen(&table);
    assert_eq!(xen.off, [""; 0]);
    assert_eq!(xen.regions[0].0.to_string(), "0x2e000000-0x2e000fff");
}

#[test]
fn xen_gives_a_table_up_over_what_linux_lives_with() {
    let overlapping = dmar(vec![
        unit(),
        rmrr(0x1000_0000, 0x10ff_ffff, endpoint(2)),
        rmrr(0x1080_0000, 0x11ff_ffff, endpoint(3)),
    ]);
    let beyond = ivrs(vec![bus_unit(), ivmd(0, 0xfff, 0x1000_0000, 0x1000)]);
    for (table, code) in [(overlapping, "rmrr-overlap"), (beyond, "ivmd-beyond-last-device")] {
        let xen = as_xen(&table);
        assert!(xen.off.iter().any(|why| why.contains(code)), "{:?}", xen.off);
        assert!(xen.regions.is_empty());
    }
}
