//! Hand-made hosts: quirks, places, changes, reasons, providers.

use ringfence_host::{
    AcsBits, AcsSetting, Class, Fact, Host, Iommu, Model, Policy, PortType, Rule, Standing,
    Topology, Unknown, WhatIf, WhatIfError, alias_classes, diff, providers, state, why, why_both,
};

use crate::builder::{Builder, acs, at, grouped_by};

const LINUX: Model = Model::Linux612;
const STRICT: Model = Model::Strict(Policy::NOTHING_MORE);

fn are_together(host: &Host, model: Model, one: &str, other: &str) -> bool {
    let partition = model.partition(host);
    let group = partition.group_of(at(one)).expect("a group");
    group.functions.contains(&at(other))
}

/// Two functions of one device below a good port, with these ids and no ACS.
fn two_functions(vendor: u16, device: u16) -> Host {
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1);
    for address in ["01:00.0", "01:00.1"] {
        let function = builder.endpoint(address);
        function.multifunction = Fact::Known(true);
        function.identity.vendor = Fact::Known(vendor);
        function.identity.device = Fact::Known(device);
    }
    builder.host
}

/// A port with these ids and no ACS, with an endpoint below.
fn one_port(vendor: u16, device: u16) -> Host {
    let mut builder = Builder::default();
    let port = builder.port("00:01.0", PortType::RootPort, 1);
    port.identity.vendor = Fact::Known(vendor);
    port.identity.device = Fact::Known(device);
    builder.endpoint("01:00.0");
    builder.host
}

pub(crate) fn vendors_are_believed_by_linux_alone() {
    for (vendor, device) in [(0x8086, 0x1521), (0x1924, 0x0903), (0x14e4, 0x16d7), (0x8088, 0x1001)]
    {
        let host = two_functions(vendor, device);
        assert!(!are_together(&host, LINUX, "01:00.0", "01:00.1"), "{vendor:04x}:{device:04x}");
        assert!(are_together(&host, STRICT, "01:00.0", "01:00.1"), "{vendor:04x}:{device:04x}");
        let why = why(&host, LINUX, at("01:00.0")).expect("an answer");
        let quirk = why.chain.iter().find(|reason| reason.rule == Rule::VendorQuirk);
        assert_eq!(quirk.map(|reason| reason.standing), Some(Standing::Asserted));
    }
    for (vendor, device) in [
        (0x8086, 0x1c10),
        (0x17cb, 0x0400),
        (0x177d, 0xa000),
        (0x1def, 0xe005),
        (0x0014, 0x7a09),
        (0x1c36, 0x0031),
        (0x1957, 0x8d80),
        (0x1d17, 0x0710),
        (0x14e4, 0xd714),
    ] {
        let host = one_port(vendor, device);
        assert!(!are_together(&host, LINUX, "00:01.0", "01:00.0"), "{vendor:04x}:{device:04x}");
        assert!(are_together(&host, STRICT, "00:01.0", "01:00.0"), "{vendor:04x}:{device:04x}");
    }
}

/// Zhaoxin's and Wangxun's rows say no, and not nothing, to devices they do not name.
pub(crate) fn vendors_deny_what_registers_show() {
    let mut host = one_port(0x1d17, 0x0799);
    host.functions.get_mut(&at("00:01.0")).expect("the port").acs = acs(AcsBits::REQUIRED);
    assert!(are_together(&host, LINUX, "00:01.0", "01:00.0"));
    let mut host = two_functions(0x8088, 0x4242);
    for address in ["01:00.0", "01:00.1"] {
        host.functions.get_mut(&at(address)).expect("it is there").acs = acs(AcsBits::REQUIRED);
    }
    assert!(are_together(&host, LINUX, "01:00.0", "01:00.1"));
}

pub(crate) fn sunrise_point_has_a_double_word() {
    let mut host = one_port(0x8086, 0xa110);
    let port = host.functions.get_mut(&at("00:01.0")).expect("the port");
    // Where the specification has the control register, there is nothing.
    port.acs = acs(AcsBits::empty());
    port.acs_double_word_control = Fact::Known(0x1d);
    assert!(!are_together(&host, LINUX, "00:01.0", "01:00.0"));
    assert!(!are_together(&host, STRICT, "00:01.0", "01:00.0"), "a register shows it");
    let port = host.functions.get_mut(&at("00:01.0")).expect("the port");
    port.acs_double_word_control = Fact::Known(0);
    assert!(are_together(&host, LINUX, "00:01.0", "01:00.0"));
    let port = host.functions.get_mut(&at("00:01.0")).expect("the port");
    port.acs_double_word_control = Fact::Unknown(Unknown::NotInSource);
    assert!(!are_together(&host, LINUX, "00:01.0", "01:00.0"), "Linux sets it at boot");
    assert!(are_together(&host, STRICT, "00:01.0", "01:00.0"));
}

pub(crate) fn amd_southbridge_needs_an_amd_iommu() {
    let mut builder = Builder::default();
    for (address, device) in [("00:14.0", 0x4385), ("00:14.2", 0x4383)] {
        let function = builder.conventional(address);
        function.multifunction = Fact::Known(true);
        function.identity.vendor = Fact::Known(0x1002);
        function.identity.device = Fact::Known(device);
    }
    let mut host = builder.host;
    host.tables = Fact::Known(vec!["IVRS".to_owned()]);
    assert!(!are_together(&host, LINUX, "00:14.0", "00:14.2"));
    host.tables = Fact::Known(vec!["DMAR".to_owned()]);
    assert!(are_together(&host, LINUX, "00:14.0", "00:14.2"));
}

pub(crate) fn source_validation_that_is_broken_is_done_without_in_7_3() {
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1);
    builder.switch(1, Some(AcsBits::REQUIRED - AcsBits::SOURCE_VALIDATION));
    for address in ["02:00.0", "02:01.0"] {
        let port = builder.host.functions.get_mut(&at(address)).expect("a port");
        port.identity.vendor = Fact::Known(0x111d);
        port.identity.device = Fact::Known(0x80b5);
    }
    assert!(are_together(&builder.host, LINUX, "02:00.0", "03:00.0"));
    assert!(!are_together(&builder.host, Model::Linux73, "02:00.0", "03:00.0"));
}

pub(crate) fn aliases_join_what_nothing_parts() {
    // Marvell's controllers use function 1's id, also where there is none.
    let mut host = two_functions(0x1b4b, 0x9230);
    for address in ["01:00.0", "01:00.1"] {
        host.functions.get_mut(&at(address)).expect("it is there").acs = acs(AcsBits::REQUIRED);
    }
    assert!(are_together(&host, LINUX, "01:00.0", "01:00.1"));
    assert!(are_together(&host, STRICT, "01:00.0", "01:00.1"));
    assert_eq!(alias_classes(&host).len(), 2);
    let both = why_both(&host, LINUX, at("01:00.0"), at("01:00.1")).expect("an answer");
    assert_eq!(both.chain[0].rule, Rule::QuirkAlias);
    assert_eq!(both.change, None, "no setting parts an alias, and there is no free slot");

    // Firmware's alias of an SATA controller for an IDE one, in another slot.
    let mut builder = Builder::default();
    builder.endpoint("00:11.0");
    builder.endpoint("00:14.1").multifunction = Fact::Known(false);
    let mut host = builder.host;
    assert!(!are_together(&host, LINUX, "00:11.0", "00:14.1"));
    host.firmware_aliases.insert(at("00:14.1"), at("00:11.0"));
    assert!(are_together(&host, LINUX, "00:11.0", "00:14.1"));
    let both = why_both(&host, LINUX, at("00:11.0"), at("00:14.1")).expect("an answer");
    assert_eq!(both.chain[0].rule, Rule::FirmwareAlias);

    // A bridge that hides its PCI Express side, and one that is conventional.
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1);
    let bridge = builder.conventional_bridge("01:00.0", 2);
    bridge.identity.vendor = Fact::Known(0x1b21);
    bridge.identity.device = Fact::Known(0x1080);
    builder.conventional("02:01.0");
    assert!(are_together(&builder.host, LINUX, "01:00.0", "02:01.0"));
    assert!(!are_together(&builder.host, Model::Bridge, "01:00.0", "02:01.0"));
}

pub(crate) fn vmd_domains_translate_as_the_endpoint() {
    let mut builder = Builder::default();
    let endpoint = builder.endpoint("00:0e.0");
    endpoint.identity.vendor = Fact::Known(0x8086);
    endpoint.identity.device = Fact::Known(0x9a0b);
    builder.good_root("10000:e0:06.0", 0xe1);
    builder.endpoint("10000:e1:00.0");
    let host = builder.host;
    for model in [LINUX, Model::Linux2025, STRICT, Model::Bridge] {
        assert!(are_together(&host, model, "00:0e.0", "10000:e1:00.0"), "{model}");
    }
    let key = Topology::of(&host).key(at("10000:e1:00.0"));
    assert_eq!(key.to_string(), "0000:00:0e.0/vmd-e0/06.0/00.0");
}

pub(crate) fn keys_stay_when_bus_numbers_go() {
    let made = |shift: u8| {
        let mut builder = Builder::default();
        builder.good_root("00:01.0", 1 + shift);
        builder.switch(1 + shift, Some(AcsBits::REQUIRED));
        let address = at(&format!("{:02x}:00.0", 4 + shift));
        (Topology::of(&builder.host).key(address), diff(&builder.host, &builder.host, LINUX))
    };
    assert_eq!(made(0).0, made(0x30).0);
    assert_eq!(made(0).0.to_string(), "0000:00/01.0/00.0/01.0/00.0");
    assert_eq!(made(0).1, []);
}

pub(crate) fn the_change_that_parts_is_tried() {
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1).acs = acs(AcsBits::SOURCE_VALIDATION);
    builder.endpoint("01:00.0");
    let host = builder.host;
    let both = why_both(&host, LINUX, at("00:01.0"), at("01:00.0")).expect("an answer");
    assert_eq!(both.together, Some(true));
    assert_eq!(both.chain[0].rule, Rule::PortWithoutAcs);
    let register = both.chain[0].register.as_ref().expect("a register");
    assert_eq!(register.name, "ACS control at 0x14e");
    assert_eq!(register.value, "0x0001 (SV)");
    let change = both.change.expect("a change");
    assert_eq!(change.kernel_argument.as_deref(), Some("pci=config_acs=xx111x1@0000:00:01.0"));
    let tried = WhatIf::parse_set("0000:00:01.0:acs=on").expect("a change");
    assert_eq!(change.what_if.as_deref(), Some(tried.to_string().as_str()));
    let changed = tried.apply(&host).expect("it can be made");
    assert!(!are_together(&changed, LINUX, "00:01.0", "01:00.0"));
    let same = WhatIf::parse_kernel("pci=config_acs=xx111x1@0000:00:01.0").expect("a change");
    let same = WhatIf::apply_all(&same, &host).expect("it can be made");
    assert_eq!(LINUX.partition(&same).sets(), LINUX.partition(&changed).sets());
    let off = WhatIf::parse_set("0000:00:01.0:acs=off").expect("a change");
    let off = off.apply(&changed).expect("it can be made");
    assert_eq!(LINUX.partition(&off).sets(), LINUX.partition(&host).sets());
}

pub(crate) fn a_free_slot_parts_what_no_register_can() {
    let mut builder = Builder::default();
    builder.port("00:01.0", PortType::RootPort, 1);
    builder.switch(1, None);
    builder.good_root("00:1c.0", 0);
    let host = builder.host;
    let both = why_both(&host, LINUX, at("03:00.0"), at("04:00.0")).expect("an answer");
    let change = both.change.expect("a change");
    assert_eq!(change.what_if.as_deref(), Some("--move 0000:03:00.0:0000:00:1c.0"));
    let text = "0000:03:00.0:0000:00:1c.0";
    let moved = WhatIf::parse_move(text).expect("a change");
    let (moved, places) = moved.apply_and_follow(&host).expect("it can be made");
    let place = places[&at("03:00.0")];
    assert_eq!(Topology::of(&moved).bridge_above(place), Some(at("00:1c.0")));
    assert_eq!(moved.functions.len(), host.functions.len());
    // A whole switch goes with all below it.
    let whole = WhatIf::Move { address: at("01:00.0"), below: at("00:1c.0") };
    let whole = whole.apply(&host).expect("it can be made");
    assert_eq!(whole.functions.len(), host.functions.len());
    assert_eq!(LINUX.partition(&whole).groups.len(), 5);
}

pub(crate) fn changes_that_cannot_be_made_say_so() {
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1);
    builder.switch(1, None);
    let host = builder.host;
    let moved =
        |address, below| WhatIf::Move { address: at(address), below: at(below) }.apply(&host);
    assert_eq!(moved("09:00.0", "00:01.0"), Err(WhatIfError::NoFunction(at("09:00.0"))));
    assert_eq!(moved("03:00.0", "04:00.0"), Err(WhatIfError::NotABridge(at("04:00.0"))));
    assert_eq!(moved("01:00.0", "02:00.0"), Err(WhatIfError::BelowItself(at("01:00.0"))));
    let taken = WhatIfError::SlotTaken { below: at("02:01.0"), by: at("04:00.0") };
    assert_eq!(moved("03:00.0", "02:01.0"), Err(taken));
    let off = WhatIf::Acs { address: at("02:00.0"), setting: AcsSetting::Off };
    assert_eq!(off.apply(&host), Err(WhatIfError::NoCapability(at("02:00.0"))));
    for text in ["", "00:01.0", "00:01.0:acs=", "00:01.0:acs=2", "00:01.0:acs=00000000", "x:acs=on"]
    {
        let error = WhatIf::parse_set(text).expect_err("it is not a change");
        assert!(error.to_string().contains("acs=on"), "{error}");
    }
    assert!(WhatIf::parse_move("00:01.0").is_err());
    assert!(WhatIf::parse_kernel("config_acs=1@pci:8086:0").is_err());
    assert!(WhatIf::parse_kernel("nothing").is_err());
    let redirect = WhatIf::parse_kernel("disable_acs_redir=0000:00:01.0").expect("a change");
    let changed = WhatIf::apply_all(&redirect, &host).expect("it can be made");
    assert!(are_together(&changed, LINUX, "00:01.0", "01:00.0"));
}

pub(crate) fn what_was_not_read_isolates_nothing() {
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1).acs = Fact::Unknown(Unknown::NeedsRoot);
    builder.endpoint("01:00.0");
    let host = builder.host;
    for model in [LINUX, Model::Linux2025, STRICT] {
        assert!(are_together(&host, model, "00:01.0", "01:00.0"), "{model}");
    }
    let why = why(&host, LINUX, at("01:00.0")).expect("an answer");
    assert_eq!(why.chain[0].standing, Standing::Unknown);
    assert!(why.chain[0].sentence.contains("without root"), "{}", why.chain[0].sentence);

    // A bridge that only a path names.
    let mut builder = Builder::default();
    for address in ["01:00.0", "01:00.1"] {
        let function = builder.endpoint(address);
        function.multifunction = Fact::Known(true);
        function.acs = acs(AcsBits::REQUIRED);
        function.path = Fact::Known(vec![at("00:01.0")]);
    }
    let partition = LINUX.partition(&builder.host);
    assert_eq!(partition.groups.len(), 1);
    assert_eq!(partition.groups[0].functions, [at("01:00.0"), at("01:00.1")]);
}

pub(crate) fn diff_says_because_of_what() {
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1);
    builder.endpoint("01:00.0");
    let before = builder.host;
    let mut after = before.clone();
    after.functions.get_mut(&at("00:01.0")).expect("the port").acs = acs(AcsBits::empty());
    let changes = diff(&before, &after, LINUX);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].before.len(), 2);
    assert_eq!(changes[0].after.len(), 1);
    assert_eq!(
        changes[0].because,
        ["0000:00:01.0: the ACS control was 0x001d (SV RR CR UF) and is 0x0000 (none)"]
    );
    let mut grown = before.clone();
    grown.functions.remove(&at("01:00.0"));
    let changes = diff(&grown, &before, LINUX);
    assert_eq!(changes[0].because, ["0000:01:00.0 (0000:00/01.0/00.0) is new"]);
    // Groups of two kernels over the same registers.
    let mut old = grouped_by(before.clone(), LINUX);
    let new = grouped_by(after, LINUX);
    old.functions.get_mut(&at("00:01.0")).expect("the port").acs = acs(AcsBits::empty());
    let mut newer = new;
    old.kernel.release = Fact::Known("6.12".to_owned());
    newer.kernel.release = Fact::Known("7.3".to_owned());
    let changes = diff(&old, &newer, Model::Observed);
    assert_eq!(changes[0].because, ["Linux was 6.12 and is 7.3"]);
}

pub(crate) fn providers_speak_each_for_their_own() {
    let mut builder = Builder::default();
    builder.good_root("00:01.0", 1);
    builder.good_root("00:02.0", 2);
    builder.endpoint("01:00.0");
    builder.endpoint("02:00.0");
    let mut host = builder.host;
    let all = state(&host, &providers(&host, LINUX));
    assert_eq!(all.findings, []);
    assert_eq!(all.partition.groups.len(), 4);
    let iommu = |name: &str, functions: &[&str]| Iommu {
        name: name.to_owned(),
        functions: Fact::Known(functions.iter().map(|address| at(address)).collect()),
        features: Fact::default(),
    };
    host.iommus = Fact::Known(vec![
        iommu("dmar0", &["00:01.0", "01:00.0"]),
        iommu("dmar1", &["00:02.0", "01:00.0"]),
    ]);
    let stated = state(&host, &providers(&host, LINUX));
    assert_eq!(stated.findings.len(), 2);
    assert!(stated.findings[0].sentence.contains("dmar0 and dmar1"));
    assert_eq!(stated.findings[1].at, at("02:00.0"));
    assert!(stated.partition.without.contains_key(&at("02:00.0")));
    assert_eq!(stated.partition.sets().concat().len(), 3);
    host.kernel.machine = Fact::Known("ppc64le".to_owned());
    assert_eq!(providers(&host, LINUX)[0].name(), "power");
}

pub(crate) fn the_iommu_itself_has_no_group() {
    let mut builder = Builder::default();
    let iommu = builder.conventional("00:00.2");
    iommu.identity.vendor = Fact::Known(0x1022);
    iommu.identity.class = Fact::Known(Class { base: 8, sub: 6, interface: 0 });
    builder.endpoint("00:01.0");
    let partition = LINUX.partition(&builder.host);
    assert_eq!(partition.without[&at("00:00.2")].rule, Rule::NoIommu);
    assert_eq!(partition.sets(), [vec![at("00:01.0")]]);
}
