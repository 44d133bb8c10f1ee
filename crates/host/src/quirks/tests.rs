//! The tables of quirks have what Linux 6.12 has.

use ringfence_addr::PciAddress;

use super::acs::Test;
use super::acs_table::{INTEL_PCH_PORTS, ROWS};
use super::alias_table::{ALIAS_ROWS, Uses};
use crate::fact::Fact;
use crate::function::Function;

#[test]
fn as_many_rows_as_the_kernel() {
    // A row of ours holds several devices; one without devices is one row for a whole vendor.
    let rows: usize = ROWS.iter().map(|row| row.devices.len().max(1)).sum();
    assert_eq!(rows, 132);
    assert_eq!(INTEL_PCH_PORTS.len(), 119);
    let switchtec = ALIAS_ROWS.iter().filter(|row| row.uses == Uses::InItsRegisters);
    assert_eq!(switchtec.map(|row| row.devices.len()).sum::<usize>(), 99);
    let of = |test: Test| {
        let rows = ROWS.iter().filter(|row| row.test == test);
        rows.map(|row| row.devices.len().max(1)).sum::<usize>()
    };
    assert_eq!(of(Test::FunctionsApart), 67);
    assert_eq!(of(Test::AmdSouthbridge), 8);
    assert_eq!(of(Test::PortApart), 24 + 10 + 9 + 6 + 1);
}

#[test]
fn names_stand_for_ids() {
    let mut function = Function::new(PciAddress::from_requester_id(0, 0));
    for (name, ids) in [
        ("Intel Corporation Sunrise Point-LP PCI Express Root Port #5", (0x8086, Some(0x9d10))),
        ("Intel Corporation 200 Series PCH PCI Express Root Port #1", (0x8086, Some(0xa290))),
        ("Advanced Micro Devices, Inc. [AMD/ATI] SBx00 SMBus Controller", (0x1002, Some(0x4385))),
        ("Intel Corporation Something New", (0x8086, None)),
    ] {
        function.identity.name = Some(name.to_owned());
        assert_eq!(super::ids(&function), (Some(ids.0), ids.1), "{name}");
    }
    function.identity.vendor = Fact::Known(0x1234);
    function.identity.device = Fact::Known(0x5678);
    assert_eq!(super::ids(&function), (Some(0x1234), Some(0x5678)), "ids go before names");
}
