//! Functions that Linux 6.12 takes for isolated, or not, whatever their ACS capability says.
//!
//! 132 devices in 14 kinds, in the kernel's order, which matters: the first row with an opinion
//! decides. The ids are facts of `drivers/pci/quirks.c` in Linux 6.12, unchanged in 7.3.

use super::acs::Test;

/// Devices of one vendor that Linux tests in one way.
#[derive(Debug)]
pub(crate) struct Row {
    /// Who says so, for people.
    pub(crate) vendor_name: &'static str,
    pub(crate) vendor: u16,
    /// The devices, or none for all of the vendor.
    pub(crate) devices: &'static [u16],
    pub(crate) test: Test,
}

/// The rows in the kernel's order.
pub(crate) static ROWS: &[Row] = &[
    Row {
        vendor_name: "ATI",
        vendor: 0x1002,
        devices: &[0x4385, 0x439c, 0x4383, 0x439d, 0x4384, 0x4399],
        test: Test::AmdSouthbridge,
    },
    Row {
        vendor_name: "AMD",
        vendor: 0x1022,
        devices: &[0x780f, 0x7809],
        test: Test::AmdSouthbridge,
    },
    Row {
        vendor_name: "Solarflare",
        vendor: 0x1924,
        devices: &[0x0903, 0x0923, 0x0a03],
        test: Test::FunctionsApart,
    },
    Row {
        vendor_name: "Intel",
        vendor: 0x8086,
        devices: &[
            0x10c6, 0x10db, 0x10dd, 0x10e1, 0x10f1, 0x10f7, 0x10f8, 0x10f9, 0x10fa, 0x10fb, 0x10fc,
            0x1507, 0x1514, 0x151c, 0x1529, 0x152a, 0x154d, 0x154f, 0x1551, 0x1558, 0x1509, 0x150e,
            0x150f, 0x1510, 0x1511, 0x1516, 0x1527, 0x10c9, 0x10e6, 0x10e7, 0x10e8, 0x150a, 0x150d,
            0x1518, 0x1526, 0x10a7, 0x10a9, 0x10d6, 0x1521, 0x1522, 0x1523, 0x1524, 0x105e, 0x105f,
            0x1060, 0x10d9, 0x15b7, 0x15b8,
        ],
        test: Test::FunctionsApart,
    },
    Row { vendor_name: "Intel", vendor: 0x8086, devices: &[], test: Test::RootComplexEndpoint },
    Row {
        vendor_name: "Qualcomm",
        vendor: 0x17cb,
        devices: &[0x0400, 0x0401, 0x0115, 0x0111, 0x0120],
        test: Test::PortApart,
    },
    Row { vendor_name: "HXT", vendor: 0x1dbf, devices: &[0x0401], test: Test::PortApart },
    Row { vendor_name: "Intel", vendor: 0x8086, devices: &[], test: Test::IntelPch },
    Row { vendor_name: "Intel", vendor: 0x8086, devices: &[], test: Test::SunrisePoint },
    Row { vendor_name: "Emulex", vendor: 0x19a2, devices: &[0x0710], test: Test::FunctionsApart },
    Row { vendor_name: "Emulex", vendor: 0x10df, devices: &[0x0720], test: Test::FunctionsApart },
    Row { vendor_name: "Cavium", vendor: 0x177d, devices: &[], test: Test::Cavium },
    Row {
        vendor_name: "Cavium",
        vendor: 0x177d,
        devices: &[0xa026, 0xa059, 0xa060],
        test: Test::FunctionsApart,
    },
    Row {
        vendor_name: "Applied Micro X-Gene",
        vendor: 0x10e8,
        devices: &[0xe004],
        test: Test::PortApart,
    },
    Row {
        vendor_name: "Ampere",
        vendor: 0x1def,
        devices: &[0xe005, 0xe006, 0xe007, 0xe008, 0xe009, 0xe00a, 0xe00b, 0xe00c],
        test: Test::PortApart,
    },
    Row {
        vendor_name: "Broadcom",
        vendor: 0x14e4,
        devices: &[0x16d7, 0x1750, 0x1751, 0x1752, 0x1760, 0x1761, 0x1762, 0x1763],
        test: Test::FunctionsApart,
    },
    Row { vendor_name: "Broadcom", vendor: 0x14e4, devices: &[0xd714], test: Test::PortApart },
    Row {
        vendor_name: "Loongson",
        vendor: 0x0014,
        devices: &[0x3c09, 0x3c19, 0x3c29, 0x7a09, 0x7a19, 0x7a29, 0x7a39, 0x7a49, 0x7a59, 0x7a69],
        test: Test::PortApart,
    },
    Row {
        vendor_name: "Amazon Annapurna Labs",
        vendor: 0x1c36,
        devices: &[0x0031],
        test: Test::Annapurna,
    },
    Row {
        vendor_name: "Zhaoxin",
        vendor: 0x1d17,
        devices: &[0x3038, 0x3104, 0x9083],
        test: Test::FunctionsApart,
    },
    Row {
        vendor_name: "NXP Layerscape",
        vendor: 0x1957,
        devices: &[
            0x8d81, 0x8da1, 0x8d83, 0x8d80, 0x8da0, 0x8d82, 0x8d90, 0x8db0, 0x8d92, 0x8d91, 0x8db1,
            0x8d93, 0x8d89, 0x8da9, 0x8d8b, 0x8d88, 0x8da8, 0x8d8a, 0x8d98, 0x8db8, 0x8d9a, 0x8d99,
            0x8db9, 0x8d9b,
        ],
        test: Test::PortApart,
    },
    Row { vendor_name: "Zhaoxin", vendor: 0x1d17, devices: &[], test: Test::ZhaoxinPort },
    Row { vendor_name: "Wangxun", vendor: 0x8088, devices: &[], test: Test::WangxunNic },
];

/// Intel root ports without an ACS capability whose chipset can be told to isolate them.
pub(crate) static INTEL_PCH_PORTS: &[u16] = &[
    0x3b42, 0x3b43, 0x3b44, 0x3b45, 0x3b46, 0x3b47, 0x3b48, 0x3b49, 0x3b4a, 0x3b4b, 0x3b4c, 0x3b4d,
    0x3b4e, 0x3b4f, 0x3b50, 0x3b51, 0x1c10, 0x1c11, 0x1c12, 0x1c13, 0x1c14, 0x1c15, 0x1c16, 0x1c17,
    0x1c18, 0x1c19, 0x1c1a, 0x1c1b, 0x1c1c, 0x1c1d, 0x1c1e, 0x1c1f, 0x1e10, 0x1e11, 0x1e12, 0x1e13,
    0x1e14, 0x1e15, 0x1e16, 0x1e17, 0x1e18, 0x1e19, 0x1e1a, 0x1e1b, 0x1e1c, 0x1e1d, 0x1e1e, 0x1e1f,
    0x8c10, 0x8c11, 0x8c12, 0x8c13, 0x8c14, 0x8c15, 0x8c16, 0x8c17, 0x8c18, 0x8c19, 0x8c1a, 0x8c1b,
    0x8c1c, 0x8c1d, 0x8c1e, 0x8c1f, 0x9c10, 0x9c11, 0x9c12, 0x9c13, 0x9c14, 0x9c15, 0x9c16, 0x9c17,
    0x9c18, 0x9c19, 0x9c1a, 0x9c1b, 0x9c90, 0x9c91, 0x9c92, 0x9c93, 0x9c94, 0x9c95, 0x9c96, 0x9c97,
    0x9c98, 0x9c99, 0x9c9a, 0x9c9b, 0x1d10, 0x1d12, 0x1d14, 0x1d16, 0x1d18, 0x1d1a, 0x1d1c, 0x1d1e,
    0x8d10, 0x8d11, 0x8d12, 0x8d13, 0x8d14, 0x8d15, 0x8d16, 0x8d17, 0x8d18, 0x8d19, 0x8d1a, 0x8d1b,
    0x8d1c, 0x8d1d, 0x8d1e, 0x8c90, 0x8c92, 0x8c94, 0x8c96, 0x8c98, 0x8c9a, 0x8c9c, 0x8c9e,
];
