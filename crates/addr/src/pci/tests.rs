//! Every function of a domain reads back, and what does not read says why.

use std::format;
use std::string::{String, ToString};

use proptest::prelude::*;

use super::*;

fn error(text: &str) -> String {
    let error = text.parse::<PciAddress>().expect_err("not a PCI address").to_string();
    let start = format!("{text:?} is not a PCI address: ");
    error.strip_prefix(&start).expect("the error names the text").to_string()
}

#[test]
fn every_function_of_a_domain_reads_back_in_order() {
    let mut below = None;
    for requester_id in 0..=u16::MAX {
        let address = PciAddress::from_requester_id(0, requester_id);
        assert_eq!(address.requester_id(), requester_id);
        let text = address.to_string();
        assert_eq!(text.parse(), Ok(address));
        let (domain, short) = text.split_once(':').expect("a domain");
        assert_eq!((domain, short.parse()), ("0000", Ok(address)));
        let parts = (address.bus(), address.device(), address.function());
        assert_eq!(PciAddress::new(0, parts.0, parts.1, parts.2), Some(address));
        assert!(below < Some(address), "requester ids and addresses have one order");
        below = Some(address);
    }
    assert!(below < Some(PciAddress::from_requester_id(1, 0)));
}

#[test]
fn device_and_function_have_five_and_three_bits() {
    for device in 0..=u8::MAX {
        for function in 0..=u8::MAX {
            let fits = device < 32 && function < 8;
            assert_eq!(PciAddress::new(0, 0, device, function).is_some(), fits);
        }
    }
}

#[test]
fn an_address_prints_as_sysfs_names_it() {
    let address = PciAddress::new(0, 1, 0x1f, 7).expect("an address");
    assert_eq!(address.to_string(), "0000:01:1f.7");
    assert_eq!(format!("{address:?}"), "PciAddress(0000:01:1f.7)");
    assert_eq!(address.requester_id(), 0x01ff);
}

#[test]
fn a_domain_can_have_more_than_sixteen_bits() {
    let behind_vmd = PciAddress::new(0x1_0000, 0xe1, 0, 0).expect("an address");
    assert_eq!(behind_vmd.to_string(), "10000:e1:00.0");
    assert_eq!("10000:e1:00.0".parse(), Ok(behind_vmd));
    assert_eq!("ffffffff:00:00.0".parse().map(PciAddress::domain), Ok(u32::MAX));
}

#[test]
fn short_and_long_numbers_are_read_by_value() {
    let address = PciAddress::new(0, 1, 2, 3);
    assert_eq!("1:2.3".parse().ok(), address);
    assert_eq!("0:1:2.3".parse().ok(), address);
    assert_eq!("00000000:001:002.03".parse().ok(), address);
    assert_eq!("0000:0A:1F.0".parse().ok(), PciAddress::new(0, 0xa, 0x1f, 0));
}

#[test]
fn what_does_not_read_says_why() {
    let shape = "write domain:bus:device.function, such as 0000:01:00.0";
    for text in ["", "0000", "01:00", "0000:01:00", "01.0", ".", "0:0000:01:00.0"] {
        assert_eq!(error(text), shape);
    }
    assert_eq!(error(":00.0"), "its bus is not a hexadecimal number");
    assert_eq!(error(":01:00.0"), "its domain is not a hexadecimal number");
    assert_eq!(error("0000:01:.0"), "its device is not a hexadecimal number");
    assert_eq!(error("0000:01:00."), "its function is not a hexadecimal number");
    assert_eq!(error("0000:01:+1.0"), "its device is not a hexadecimal number");
    assert_eq!(error("0000:01:0x1.0"), "its device is not a hexadecimal number");
    assert_eq!(error(" 0000:01:00.0"), "its domain is not a hexadecimal number");
    assert_eq!(error("0000:01:20.0"), "its device is above 0x1f");
    assert_eq!(error("0000:01:00.8"), "its function is above 0x7");
    assert_eq!(error("0000:100:00.0"), "its bus is above 0xff");
    assert_eq!(error("100000000:00:00.0"), "its domain is above 0xffffffff");
}

proptest! {
    #[test]
    fn any_function_of_any_domain_reads_back(domain: u32, requester_id: u16) {
        let address = PciAddress::from_requester_id(domain, requester_id);
        prop_assert_eq!(address.to_string().parse(), Ok(address));
    }

    #[test]
    fn any_text_reads_or_has_an_error(text in "[0-9a-f:.]{0,14}|.*") {
        match text.parse::<PciAddress>() {
            Ok(address) => prop_assert_eq!(address.to_string().parse(), Ok(address)),
            Err(error) => prop_assert!(error.to_string().len() < 300),
        }
    }
}

proptest! {
    #[test]
    fn the_quick_way_reads_what_the_other_does(
        text in "[0-9a-fA-F+ :.]{4}:[0-9a-fA-Fg]{2}:[0-3][0-9a-fA-F:][.:][0-9a-f]",
    ) {
        prop_assert_eq!(whole(&text), parse(&text).ok());
    }
}
