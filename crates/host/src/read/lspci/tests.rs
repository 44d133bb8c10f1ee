//! Listings written by hand.

use super::*;
use crate::acs::AcsBits;
use crate::function::{Class, Header};
use crate::port::{Pcie, PortType};

const SWITCH: &str = "\
00:01.0 PCI bridge [0604]: Intel Corporation Some Port (x16) [8086:1901] (rev 07) (prog-if 00 [Normal decode])
\tControl: I/O+ Mem+
\tIOMMU group: 2
\tBus: primary=00, secondary=01, subordinate=05, sec-latency=0
\tCapabilities: [a0] Express (v2) Root Port (Slot+), IntMsgNum 0
\tCapabilities: [140 v1] Access Control Services
\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir- CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\tKernel driver in use: pcieport

01:00.0 Ethernet controller: Intel Corporation Device 15b7 (rev 1f)
\tFlags: fast devsel, IRQ 17, IOMMU group 3
\tMemory at df200000 (32-bit, non-prefetchable) [size=128K]
\tCapabilities: <access denied>
";

fn address(text: &str) -> PciAddress {
    text.parse().expect("an address")
}

fn read(text: &str) -> Host {
    lspci(text.as_bytes()).expect("a listing")
}

#[test]
fn text_says_what_registers_would() {
    let host = read(SWITCH);
    let port = host.function(address("00:01.0")).expect("it is listed");
    assert_eq!(port.identity.vendor, Fact::Known(0x8086));
    assert_eq!(port.identity.device, Fact::Known(0x1901));
    assert_eq!(port.identity.revision, Fact::Known(7));
    assert_eq!(port.identity.class, Fact::Known(Class { base: 6, sub: 4, interface: 0 }));
    assert_eq!(port.identity.name.as_deref(), Some("Intel Corporation Some Port (x16)"));
    assert_eq!(port.header, Fact::Known(Header::Bridge { secondary: 1, subordinate: 5 }));
    assert_eq!(port.multifunction, Fact::Unknown(Unknown::NotInSource));
    assert_eq!(port.pcie, Fact::Known(Some(Pcie { offset: 0xa0, port: PortType::RootPort })));
    let Fact::Known(Some(acs)) = port.acs else { panic!("ACS is printed") };
    assert_eq!(acs.offset, 0x140);
    assert_eq!(acs.control, Fact::Known(AcsBits::REQUIRED - AcsBits::REQUEST_REDIRECT));
    assert_eq!(port.kernel_group, Fact::Known(Some(2)));
    assert_eq!(port.driver, Fact::Known(Some("pcieport".to_owned())));
}

#[test]
fn what_was_denied_needs_root_and_ids_come_of_names() {
    let host = read(SWITCH);
    let card = host.function(address("01:00.0")).expect("it is listed");
    assert_eq!(card.identity.vendor, Fact::Known(0x8086));
    assert_eq!(card.identity.device, Fact::Known(0x15b7));
    assert_eq!(card.identity.class, Fact::Known(Class { base: 2, sub: 0, interface: 0 }));
    assert_eq!(card.header, Fact::Known(Header::Endpoint));
    assert_eq!(card.memory, Fact::Known(true));
    assert_eq!(card.pcie, Fact::Unknown(Unknown::NeedsRoot));
    assert_eq!(card.acs, Fact::Unknown(Unknown::NeedsRoot));
    assert_eq!(card.kernel_group, Fact::Known(Some(3)));
    assert_eq!(card.driver, Fact::Known(None));
}

#[test]
fn a_capability_without_its_registers_is_there_and_its_values_are_not() {
    let host = read(
        "00:1c.0 PCI bridge: Intel Corporation Device 51b8\n\tFlags: bus master\n\
         \tCapabilities: [40] Express Root Port (Slot+), IntMsgNum 0\n\
         \tCapabilities: [220] Access Control Services\n\
         \tCapabilities: [320] Single Root I/O Virtualization (SR-IOV)\n",
    );
    let port = host.function(address("00:1c.0")).expect("it is listed");
    let Fact::Known(Some(acs)) = port.acs else { panic!("ACS is printed") };
    assert_eq!((acs.offset, acs.control), (0x220, Fact::Unknown(Unknown::NotInSource)));
    assert_eq!(port.virtual_functions, Fact::Unknown(Unknown::NotInSource));
}

#[test]
fn a_listing_without_details_leaves_registers_unknown() {
    let host = read("00:1f.0 0601: 8086:a0c8 (rev 20)\n");
    let bridge = host.function(address("00:1f.0")).expect("it is listed");
    assert_eq!(bridge.identity.device, Fact::Known(0xa0c8));
    assert_eq!(bridge.identity.class, Fact::Known(Class { base: 6, sub: 1, interface: 0 }));
    assert_eq!(bridge.header, Fact::Unknown(Unknown::NotInSource));
    assert_eq!(bridge.acs, Fact::Unknown(Unknown::NotInSource));
    assert_eq!(bridge.kernel_group, Fact::Unknown(Unknown::NotInSource));
}

#[test]
fn paths_say_what_is_above_in_both_spellings() {
    let bridges = "00:01.0 0604: 8086:1901\n\tControl: I/O+\n\tBus: primary=00, secondary=01, subordinate=02, sec-latency=0\n";
    for (bridge, card) in
        [("00:01.0/01:00.0", "00:01.0/01:00.0/02:03.1"), ("00:01.0/00.0", "00:01.0/00.0/03.1")]
    {
        let text = format!(
            "{bridges}{bridge} 0604: 8086:1901\n\tControl: I/O+\n\tBus: primary=01, secondary=02, subordinate=02, sec-latency=0\n{card} 0200: 8086:15b7\n"
        );
        let host = read(&text);
        let found = host.function(address("02:03.1")).expect("it is listed");
        let above = vec![address("00:01.0"), address("01:00.0")];
        assert_eq!(found.path, Fact::Known(above), "{card}");
    }
    let host = read("00:01.0 0604: 8086:1901\n00:01.0/00.0 0200: 8086:15b7\n");
    assert_eq!(host.functions.len(), 1);
    assert!(host.remarks[0].contains("00:01.0/00.0"), "{:?}", host.remarks);
}

#[test]
fn the_kernels_log_gives_groups_to_a_listing_without() {
    let host = read(
        "00:01.0 0604: 8086:1901\n00:02.0 0300: 8086:3e9b\n\n\
         [    0.7] pci 0000:00:02.0: Adding to iommu group 4\n",
    );
    assert_eq!(host.functions[&address("00:02.0")].kernel_group, Fact::Known(Some(4)));
    assert_eq!(host.functions[&address("00:01.0")].kernel_group, Fact::Known(None));
}

#[test]
fn a_dump_counts_for_more_than_words() {
    let mut text = "00:01.0 PCI bridge [0604]: Name [8086:1901]\n".to_owned();
    text += "00: 86 80 01 19 07 04 00 00 05 00 04 06 00 00 81 00\n";
    text += "10: 00 00 00 00 00 00 00 00 00 01 05 00 00 00 00 00\n";
    text += "30: 00 00 00 00 00 00 00 00 00 01 05 00 00 00 00 00\n";
    let host = read(&text);
    let port = &host.functions[&address("00:01.0")];
    assert_eq!(port.multifunction, Fact::Known(true));
    assert_eq!(port.identity.revision, Fact::Known(5));
    assert_eq!(port.header, Fact::Known(Header::Bridge { secondary: 1, subordinate: 5 }));
    assert_eq!(port.pcie, Fact::Known(None));
    assert_eq!(host.remarks, ["line 4: a hexadecimal line out of order"]);
}

#[test]
fn text_of_another_kind_is_refused() {
    let refusal = lspci(b"Bus 001 Device 001: ID 1d6b:0002\n").expect_err("no function in it");
    assert_eq!(refusal.code(), &NOTHING_OF_A_HOST);
}
