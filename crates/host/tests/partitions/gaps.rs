//! The known gaps between Linux's groups and what hardware isolates, each on a host made for it.

use ringfence_host::{
    AcsBits, Fact, Gap, Host, Model, Policy, PortType, Verdict, WhatIf, compare_with_kernel,
    reaches,
};

use crate::builder::{Builder, acs, at, grouped_by};

const STRICT: Model = Model::Strict(Policy::NOTHING_MORE);

fn are_together(host: &Host, model: Model, one: &str, other: &str) -> bool {
    let partition = model.partition(host);
    let group = partition.group_of(at(one)).expect("a group");
    group.functions.contains(&at(other))
}

/// The gap is found between two functions, and the kernel is weaker by it.
fn finds(host: &Host, gap: Gap, verdict: Verdict) -> bool {
    let kernel = grouped_by(host.clone(), Model::Linux612);
    compare_with_kernel(&kernel)
        .iter()
        .any(|difference| difference.gap == gap && difference.verdict == verdict)
}

pub(crate) fn u1_switch_ports() {
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1);
    builder.switch(1, None);
    let host = builder.host;
    assert!(!are_together(&host, Model::Linux612, "03:00.0", "04:00.0"));
    assert!(are_together(&host, Model::Linux2025, "03:00.0", "04:00.0"));
    assert!(are_together(&host, STRICT, "03:00.0", "04:00.0"));
    assert!(reaches(&host, STRICT, at("03:00.0"), at("04:00.0")).is_some());
    assert!(finds(&host, Gap::SwitchPorts, Verdict::KernelWeaker));

    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1);
    builder.switch(1, Some(AcsBits::REQUIRED));
    for model in [Model::Linux612, Model::Linux2025, STRICT] {
        assert!(!are_together(&builder.host, model, "03:00.0", "04:00.0"), "{model}");
    }
    assert!(reaches(&builder.host, STRICT, at("03:00.0"), at("04:00.0")).is_none());
    assert_eq!(compare_with_kernel(&grouped_by(builder.host, Model::Linux612)), []);
}

pub(crate) fn u2_asymmetric_siblings() {
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1);
    builder.endpoint("01:00.0").multifunction = Fact::Known(true);
    builder.endpoint("01:00.1").acs = acs(AcsBits::REQUIRED);
    let host = builder.host;
    assert!(!are_together(&host, Model::Linux612, "01:00.0", "01:00.1"));
    assert!(!are_together(&host, Model::Linux2025, "01:00.0", "01:00.1"));
    assert!(are_together(&host, STRICT, "01:00.0", "01:00.1"));
    // One can reach the other, and not the other way around.
    assert!(reaches(&host, STRICT, at("01:00.0"), at("01:00.1")).is_some());
    assert!(reaches(&host, STRICT, at("01:00.1"), at("01:00.0")).is_none());
    assert!(finds(&host, Gap::AsymmetricSiblings, Verdict::KernelWeaker));
}

pub(crate) fn u3_root_ports() {
    let mut builder = Builder::default();
    builder.port("00:01.0", PortType::RootPort, 1);
    builder.port("00:02.0", PortType::RootPort, 2);
    builder.endpoint("01:00.0");
    builder.endpoint("02:00.0");
    let host = builder.host;
    assert!(are_together(&host, Model::Linux612, "00:01.0", "01:00.0"));
    assert!(!are_together(&host, Model::Linux612, "01:00.0", "02:00.0"));
    assert!(!are_together(&host, Model::Linux2025, "00:01.0", "01:00.0"));
    assert!(are_together(&host, STRICT, "01:00.0", "02:00.0"));
    assert!(finds(&host, Gap::RootPorts, Verdict::KernelWeaker));
}

pub(crate) fn u4_changed_afterwards() {
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1);
    builder.endpoint("01:00.0");
    let mut host = grouped_by(builder.host, Model::Linux612);
    assert_eq!(compare_with_kernel(&host), []);
    host.functions.get_mut(&at("00:01.0")).expect("the port").acs = acs(AcsBits::empty());
    let differences = compare_with_kernel(&host);
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].verdict, Verdict::Stale);
    assert_eq!(differences[0].gap.number(), Some("U4"));
    assert!(!differences[0].kernel_has_together);
}

pub(crate) fn u5_override() {
    let mut builder = Builder::default();
    builder.port("00:01.0", PortType::RootPort, 1);
    builder.endpoint("01:00.0");
    let mut host = builder.host;
    assert!(are_together(&host, Model::Linux612, "00:01.0", "01:00.0"));
    let word = "pcie_acs_override=downstream,multifunction";
    host.kernel.command_line = Fact::Known(format!("quiet {word}"));
    assert!(!are_together(&host, Model::Linux612, "00:01.0", "01:00.0"));
    assert!(are_together(&host, STRICT, "00:01.0", "01:00.0"));
    assert!(finds(&host, Gap::Override, Verdict::KernelWeaker));
    let change = WhatIf::WithoutArgument { word: word.to_owned() };
    let without = change.apply(&host).expect("it is there");
    assert!(are_together(&without, Model::Linux612, "00:01.0", "01:00.0"));
}

pub(crate) fn u6_virtual_functions() {
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1);
    builder.physical("01:00.0", 2, 0x80);
    for address in ["01:10.0", "01:10.1"] {
        let function = builder.endpoint(address);
        function.physical_function = Fact::default();
    }
    let host = builder.host;
    assert!(!are_together(&host, Model::Linux612, "01:10.0", "01:10.1"));
    assert!(are_together(&host, STRICT, "01:10.0", "01:10.1"));
    assert!(are_together(&host, STRICT, "01:10.0", "01:00.0"));
    assert!(finds(&host, Gap::VirtualFunctions, Verdict::KernelWeaker));
}

pub(crate) fn u7_conventional_bridge() {
    let mut builder = Builder::default();
    builder.port("00:01.0", PortType::RootPort, 1);
    builder.port("01:00.0", PortType::PcieToPciBridge, 2).memory = Fact::Known(false);
    builder.conventional("02:01.0");
    builder.conventional("02:02.0");
    let host = builder.host;
    assert!(are_together(&host, Model::Linux612, "00:01.0", "02:01.0"));
    assert!(!are_together(&host, Model::Linux2025, "00:01.0", "02:01.0"));
    assert!(!are_together(&host, Model::Linux2025, "01:00.0", "02:01.0"));
    assert!(are_together(&host, Model::Linux2025, "02:01.0", "02:02.0"));
    assert!(are_together(&host, Model::Bridge, "02:01.0", "02:02.0"));
    assert!(!are_together(&host, Model::Bridge, "01:00.0", "02:01.0"));
    assert!(finds(&host, Gap::ConventionalBridge, Verdict::KernelStronger));
}

pub(crate) fn policies_join_what_registers_part() {
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1);
    builder.good_root("00:02.0", 2);
    builder.endpoint("01:00.0").multifunction = Fact::Known(true);
    builder.endpoint("01:00.1");
    for address in ["01:00.0", "01:00.1"] {
        let function = builder.host.functions.get_mut(&at(address)).expect("it is there");
        function.acs = acs(AcsBits::REQUIRED);
    }
    let host = builder.host;
    assert!(!are_together(&host, STRICT, "01:00.0", "01:00.1"));
    for name in Policy::NAMES {
        let model: Model = format!("strict+{name}").parse().expect("a model");
        assert_eq!(model.to_string(), format!("strict+{name}"));
        let pair = if name == "decoded-before-host-bridge" {
            ("00:01.0", "00:02.0")
        } else {
            ("01:00.0", "01:00.1")
        };
        assert!(are_together(&host, model, pair.0, pair.1), "{name}");
        assert!(!are_together(&host, model, "00:01.0", "01:00.0"), "{name}");
    }
    assert!("strict+nothing".parse::<Model>().is_err());
    assert!("linux-6.12+bus-wide-errors".parse::<Model>().is_err());
}
