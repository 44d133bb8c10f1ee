//! Recognises functions by the names that `lspci` prints where it printed no ids.
//!
//! Only names the quirks need are here, each as the public id list has it. A name stands for one
//! representative id of those that carry it and are treated alike.

/// Vendors by the name lines begin with.
static VENDORS: &[(&str, u16)] = &[
    ("Intel Corporation", 0x8086),
    ("Advanced Micro Devices, Inc. [AMD/ATI]", 0x1002),
    ("Advanced Micro Devices, Inc. [AMD]", 0x1022),
    ("ATI Technologies Inc", 0x1002),
    ("Solarflare Communications", 0x1924),
    ("Broadcom", 0x14e4),
    ("Cavium, Inc.", 0x177d),
    ("Ampere Computing, LLC", 0x1def),
    ("Loongson Technology LLC", 0x0014),
    ("Shanghai Zhaoxin Semiconductor", 0x1d17),
    ("Zhaoxin", 0x1d17),
    ("Beijing Wangxun Technology", 0x8088),
    ("Marvell Technology Group Ltd.", 0x1b4b),
    ("HighPoint Technologies, Inc.", 0x1103),
    ("JMicron Technology Corp.", 0x197b),
    ("ASMedia Technology Inc.", 0x1b21),
    ("Integrated Technology Express, Inc.", 0x1283),
    ("Ricoh Co Ltd", 0x1180),
    ("Emulex Corporation", 0x10df),
    ("PLX Technology, Inc.", 0x10b5),
    ("ASPEED Technology, Inc.", 0x1a03),
];

/// Devices of a vendor by a part of their name.
static DEVICES: &[(u16, &str, u16)] = &[
    (0x8086, "100 Series/C230 Series Chipset Family PCI Express Root Port", 0xa110),
    (0x8086, "200 Series PCH PCI Express Root Port", 0xa290),
    (0x8086, "Sunrise Point-H PCI Express Root Port", 0xa110),
    (0x8086, "Sunrise Point-LP PCI Express Root Port", 0x9d10),
    (0x8086, "5 Series/3400 Series Chipset PCI Express Root Port", 0x3b42),
    (0x8086, "6 Series/C200 Series Chipset Family PCI Express Root Port", 0x1c10),
    (0x8086, "7 Series/C210 Series Chipset Family PCI Express Root Port", 0x1e10),
    (0x8086, "7 Series/C216 Chipset Family PCI Express Root Port", 0x1e10),
    (0x8086, "8 Series/C220 Series Chipset Family PCI Express Root Port", 0x8c10),
    (0x8086, "8 Series PCI Express Root Port", 0x9c10),
    (0x8086, "9 Series Chipset Family PCI Express Root Port", 0x8c90),
    (0x8086, "Wildcat Point-LP PCI Express Root Port", 0x9c90),
    (0x8086, "C600/X79 series chipset PCI Express Root Port", 0x1d10),
    (0x8086, "C610/X99 series chipset PCI Express Root Port", 0x8d10),
    (0x8086, "82599", 0x10fb),
    (0x8086, "Ethernet 10G 2P X520 Adapter", 0x154d),
    (0x8086, "82580", 0x150e),
    (0x8086, "82576", 0x10c9),
    (0x8086, "82575", 0x10a7),
    (0x8086, "I350 Gigabit", 0x1521),
    (0x8086, "82571EB/82571GB Gigabit Ethernet Controller D0/D1", 0x105e),
    (0x8086, "Ethernet Connection (2) I219-LM", 0x15b7),
    (0x8086, "Ethernet Connection (2) I219-V", 0x15b8),
    (0x8086, "82801 PCI Bridge", 0x244e),
    (0x1002, "SBx00 SMBus Controller", 0x4385),
    (0x1002, "SB7x0/SB8x0/SB9x0 IDE Controller", 0x439c),
    (0x1002, "SBx00 Azalia", 0x4383),
    (0x1002, "SB7x0/SB8x0/SB9x0 LPC host controller", 0x439d),
    (0x1002, "SBx00 PCI to PCI Bridge", 0x4384),
    (0x1002, "SB7x0/SB8x0/SB9x0 USB OHCI2 Controller", 0x4399),
    (0x1022, "FCH PCI Bridge", 0x780f),
    (0x1022, "FCH USB OHCI Controller", 0x7809),
    (0x1924, "SFC9120", 0x0903),
    (0x1924, "SFC9140", 0x0923),
    (0x1924, "SFC9220", 0x0a03),
    (0x14e4, "BCM57414", 0x16d7),
    (0x14e4, "BCM57508", 0x1750),
    (0x14e4, "BCM57504", 0x1751),
    (0x14e4, "BCM57502", 0x1752),
    (0x10df, "OneConnect NIC (Skyhawk)", 0x0720),
    (0x1b4b, "88SE9120", 0x9120),
    (0x1b4b, "88SE9123", 0x9123),
    (0x1b4b, "88SE9125", 0x9125),
    (0x1b4b, "88SE9128", 0x9128),
    (0x1b4b, "88SE9170", 0x9170),
    (0x1b4b, "88SE9172", 0x9172),
    (0x1b4b, "88SE9182", 0x9182),
    (0x1b4b, "88SE9215", 0x9215),
    (0x1b4b, "88SE9220", 0x9220),
    (0x1b4b, "88SE9230", 0x9230),
    (0x1b4b, "88SE9235", 0x9235),
    (0x197b, "JMB388", 0x2392),
    (0x1b21, "ASM1083/1085 PCIe to PCI Bridge", 0x1080),
    (0x1283, "IT8892E PCIe to PCI Bridge", 0x8892),
    (0x1283, "IT8893E PCIe to PCI Bridge", 0x8893),
    (0x1a03, "AST1150 PCI-to-PCI Bridge", 0x1150),
];

/// The vendor and device ids that a name stands for, as far as the quirks need them.
pub(super) fn recognise(name: Option<&str>) -> (Option<u16>, Option<u16>) {
    let Some(name) = name else { return (None, None) };
    let vendor = VENDORS.iter().find(|(text, _)| name.contains(text));
    let Some((_, vendor)) = vendor else { return (None, None) };
    let device = DEVICES.iter().find(|(of, text, _)| of == vendor && name.contains(text));
    (Some(*vendor), device.map(|(_, _, device)| *device))
}
