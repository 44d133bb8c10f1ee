//! Captures of kernels that printed what they saw.

use ringfence_addr::PciAddress;
use ringfence_host::{Fact, Header, Host, PortType, read, refusals};

use crate::data;

fn capture(name: &str) -> Host {
    let bytes = std::fs::read(data::root().join("oracle").join(name)).expect("a readable capture");
    read::capture(&bytes).expect("a capture with functions")
}

fn address(text: &str) -> PciAddress {
    text.parse().expect("an address")
}

/// Every function a capture names is there, with all its registers known.
pub(crate) fn every_capture_parses() {
    let mut with_functions = 0;
    for path in data::files("oracle", ".txt") {
        let name = data::name(&path);
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("readable")).into_owned();
        let named = text.lines().filter(|line| line.contains("@@dev ")).count();
        let host = match read::capture(text.as_bytes()) {
            Ok(host) => host,
            Err(refusal) => {
                assert_eq!(refusal.code(), &refusals::NOTHING_OF_A_HOST, "{name}");
                assert_eq!(named, 0, "{name}");
                continue;
            }
        };
        with_functions += 1;
        assert_eq!(host.functions.len(), named, "{name}");
        assert_eq!(host.remarks, Vec::<String>::new(), "{name}");
        for function in host.functions.values() {
            let place = format!("{name} {}", function.address);
            assert!(function.identity.vendor.is_known(), "{place}");
            assert!(function.header.is_known(), "{place}");
            assert!(function.acs.is_known(), "{place}");
            assert!(function.virtual_functions.is_known(), "{place}");
            assert!(function.physical_function.is_known(), "{place}");
            assert!(function.kernel_group.is_known(), "{place}");
            let Fact::Known(path) = &function.path else { panic!("{place}: no path") };
            let Some(above) = path.last() else { continue };
            let bridge = host.function(*above).expect("the bridge above was captured, too");
            let Fact::Known(Header::Bridge { secondary, subordinate }) = bridge.header else {
                panic!("{place}: {above} is no bridge")
            };
            assert!((secondary..=subordinate).contains(&function.address.bus()), "{place}");
        }
    }
    assert!(with_functions >= 11, "only {with_functions} captures have functions");
    let switch = capture("i2-switch.txt");
    let port = switch.function(address("0000:02:01.0")).expect("it is in the capture");
    assert_eq!(
        port.pcie.map(|pcie| pcie.map(|pcie| pcie.port)),
        Fact::Known(Some(PortType::DownstreamPort))
    );
    assert_eq!(port.acs, Fact::Known(None));
}

/// Virtual functions are found by the registers of their physical function.
pub(crate) fn virtual_functions_know_theirs() {
    let host = capture("i6-sriov.txt");
    for (function, of) in [
        ("0000:01:10.4", Some("0000:01:00.0")),
        ("0000:02:10.0", Some("0000:02:00.0")),
        ("0000:02:00.0", None),
    ] {
        let found = host.function(address(function)).expect("it is in the capture");
        assert_eq!(found.physical_function, Fact::Known(of.map(address)), "{function}");
    }
}
