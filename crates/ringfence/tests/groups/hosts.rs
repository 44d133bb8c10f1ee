//! The hosts of these tests: one machine per kernel and IOMMU, each with every topology there is.

use ringfence_lab::{HostMachine, IommuKind, Part, Topology};

use Part::{Device, Function, PcieToPciBridge, RootBus, RootPort, RootPortWithoutAcs, Switch};

/// The vendor and device ids of the network card with virtual functions.
const IGB: (u16, u16) = (0x8086, 0x10c9);

/// Says what the kernel's groups are, by no program of ours: `group address` a line.
pub(crate) const KERNEL_GROUPS: &str = "cd /sys/kernel/iommu_groups; for group in *; do
  [ -d $group/devices ] && ls $group/devices | sed \"s/^/$group /\"; done; true";

/// Every topology on one root bus and another beside it.
pub(crate) fn topology(has_conventional_bridge: bool) -> Topology {
    let everywhere = Topology::new(vec![
        // 00:02.0, 00:03.0: a function below a port with ACS and below one without.
        RootPort(vec![Function("e1000e")]),
        RootPortWithoutAcs(vec![Function("nvme,serial=a")]),
        // 00:04.0: siblings below a switch that has no ACS.
        RootPort(vec![Switch(vec![Function("e1000e"), Function("nvme,serial=b")])]),
        // 00:05.0: functions of one device, without ACS.
        RootPort(vec![Device(vec![Function("nvme,serial=c"), Function("e1000e")])]),
        // 00:06.0: the same on the root bus.
        Device(vec![Function("nvme,serial=d"), Function("e1000e")]),
        // 00:07.0, 00:08.0: a function whose virtual ones are turned on.
        RootPort(vec![Function("igb")]),
        RootPortWithoutAcs(vec![Function("igb")]),
        // 00:09.0: ports with and without ACS in one slot.
        Device(vec![RootPort(vec![]), RootPortWithoutAcs(vec![Function("nvme,serial=e")])]),
        // 00:0a.0: another root bus.
        RootBus(0x80, vec![RootPort(vec![Function("e1000e")]), RootPortWithoutAcs(vec![])]),
    ]);
    match has_conventional_bridge {
        false => everywhere,
        // 00:0b.0, 00:0c.0: conventional functions behind a bridge and on the root bus.
        true => everywhere.and(vec![
            RootPort(vec![PcieToPciBridge(vec![Function("e1000"), Function("e1000")])]),
            Function("e1000"),
        ]),
    }
}

/// A host with everything, its virtual functions turned on.
pub(crate) fn host(name: &str, series: &str, iommu: IommuKind) -> HostMachine {
    // The driver of virtio's IOMMU gives up on 7.x when a function has an alias.
    let has_conventional_bridge = iommu != IommuKind::Virtio || series == "6.12";
    HostMachine::new(name, series, iommu, &topology(has_conventional_bridge))
        .with(|machine| machine.memory_mib(768))
        .virtual_functions(IGB.0, IGB.1, 2)
        .case("kernel", KERNEL_GROUPS)
}
