//! What `lspci` printed on real machines.

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;
use ringfence_host::{Fact, Host, read};

use crate::data;

/// A listing, with the lines of the kernel's log where it needs them.
pub(crate) fn listing(name: &str) -> Vec<u8> {
    let folder = data::root().join("real");
    let mut text = std::fs::read(folder.join(format!("{name}.lspci.txt"))).expect("a listing");
    if let Ok(log) = std::fs::read(folder.join(format!("{name}.groups.txt"))) {
        text.push(b'\n');
        text.extend(log);
    }
    text
}

/// Every machine there is, with the groups its kernel made.
pub(crate) fn machines() -> BTreeMap<String, BTreeMap<PciAddress, u32>> {
    let truth = std::fs::read(data::root().join("real/truth.json")).expect("the truth");
    let truth: serde_json::Value = serde_json::from_slice(&truth).expect("the truth is JSON");
    let machines = truth.as_object().expect("an object of machines").iter();
    machines
        .map(|(name, machine)| {
            let groups = machine["group_of"].as_object().expect("an object of groups").iter();
            let groups = groups
                .map(|(address, group)| {
                    let group = group.as_u64().and_then(|group| u32::try_from(group).ok());
                    (address.parse().expect("an address"), group.expect("a number"))
                })
                .collect();
            (name.clone(), groups)
        })
        .collect()
}

fn read(name: &str) -> Host {
    read::lspci(&listing(name)).expect("a listing of functions")
}

/// Every function is found, with what the kernel's algorithm needs.
pub(crate) fn every_listing_parses() {
    let truth: serde_json::Value = serde_json::from_slice(
        &std::fs::read(data::root().join("real/truth.json")).expect("the truth"),
    )
    .expect("the truth is JSON");
    let machines = machines();
    assert!(machines.len() >= 10, "{} machines", machines.len());
    for (name, groups) in machines {
        let host = read(&name);
        assert_eq!(host.remarks, Vec::<String>::new(), "{name}");
        assert_eq!(Some(host.functions.len() as u64), truth[&name]["devices"].as_u64(), "{name}");
        for (address, function) in &host.functions {
            let group = groups.get(address).copied();
            assert_eq!(function.kernel_group, Fact::Known(group), "{name} {address}");
            let silent = name == "gl9755-hex-xxxx" && address.bus() == 0x2f;
            assert_eq!(function.header.is_known(), !silent, "{name} {address}");
            assert_eq!(function.pcie.is_known(), !silent, "{name} {address}");
            assert_eq!(function.acs.is_known(), !silent, "{name} {address}");
            assert!(function.identity.class.is_known(), "{name} {address}");
            assert!(
                function.identity.vendor.is_known(),
                "{name} {address}: {:?}",
                function.identity.name
            );
        }
    }
}

/// Text and hexadecimal of one machine say the same.
pub(crate) fn words_and_registers_agree() {
    let whole = listing("gl9755-hex-xxxx");
    let text = String::from_utf8_lossy(&whole);
    let is_dump = |line: &&str| line.split_once(": ").is_some_and(|(at, _)| at.len() <= 3);
    let words: String =
        text.lines().filter(|line| !is_dump(line)).map(|line| format!("{line}\n")).collect();
    let (dumped, worded) = (read("gl9755-hex-xxxx"), read::lspci(words.as_bytes()).expect("text"));
    assert_eq!(dumped.functions.len(), worded.functions.len());
    for (address, register) in &dumped.functions {
        let word = &worded.functions[address];
        assert_eq!(register.header, word.header, "{address}");
        assert_eq!(register.pcie, word.pcie, "{address}");
        assert_eq!(register.acs, word.acs, "{address}");
        assert_eq!(register.virtual_functions, word.virtual_functions, "{address}");
        assert_eq!(register.identity.class, word.identity.class, "{address}");
        assert_eq!(register.identity.vendor, word.identity.vendor, "{address}");
        assert_eq!(register.memory, word.memory, "{address}");
        if word.identity.device.is_known() {
            assert_eq!(register.identity.device, word.identity.device, "{address}");
        }
    }
}
