//! `groups`, `why` and `snapshot` of hosts that were written down.

use std::fmt::Write;

use expect_test::expect;
use serde_json::Value;

use crate::program::{Outcome, Scratch, outcome};
use crate::schema;

/// A function for the capture below: what its config space says that grouping turns on.
struct Function {
    address: &'static str,
    path: &'static str,
    ids: [u16; 2],
    /// The bus below, for a bridge.
    below: Option<u8>,
    /// Bits 7:4 of the PCI Express capabilities register.
    port: u8,
    multifunction: bool,
    acs_control: Option<u8>,
    kernel_group: u32,
}

/// Two root ports, the first without ACS; below it a card of two functions, below the other one.
fn functions(first_port_has_acs: bool) -> Vec<Function> {
    let function = |address, path, ids, below, port, multifunction, acs_control, kernel_group| {
        Function { address, path, ids, below, port, multifunction, acs_control, kernel_group }
    };
    let (port, card) = ([0x1b36, 0x000c], [0x8086, 0x10d3]);
    let acs = first_port_has_acs.then_some(0x1d);
    vec![
        function("0000:00:02.0", "0000:00:02.0", port, Some(1), 4, false, acs, 0),
        function("0000:00:03.0", "0000:00:03.0", port, Some(2), 4, false, Some(0x1d), 1),
        function("0000:01:00.0", "0000:00:02.0/0000:01:00.0", card, None, 0, true, None, 0),
        function("0000:01:00.1", "0000:00:02.0/0000:01:00.1", card, None, 0, true, None, 0),
        function("0000:02:00.0", "0000:00:03.0/0000:02:00.0", card, None, 0, false, None, 2),
    ]
}

fn capture(functions: &[Function]) -> String {
    let mut text = String::from("@@uname 6.12.0-test\n");
    for one in functions {
        let [vendor, device] = one.ids;
        let mut config = vec![0u8; 0x120];
        config[0..2].copy_from_slice(&vendor.to_le_bytes());
        config[2..4].copy_from_slice(&device.to_le_bytes());
        config[6] = 0x10;
        (config[0x0a], config[0x0b]) = if one.below.is_some() { (4, 6) } else { (0, 2) };
        config[0x0e] = u8::from(one.below.is_some()) | u8::from(one.multifunction) << 7;
        if let Some(below) = one.below {
            config[0x19..=0x1a].fill(below);
        }
        config[0x34] = 0x40;
        config[0x40] = 0x10;
        config[0x42] = 2 | one.port << 4;
        if let Some(control) = one.acs_control {
            config[0x100..0x108].copy_from_slice(&[0x0d, 0, 1, 0, 0x1f, 0, control, 0]);
        }
        let Function { address, path, kernel_group, .. } = one;
        let _ = writeln!(
            text,
            "@@dev {address} group={kernel_group} class=0x000000 id=0x{vendor:04x}:0x{device:04x} \
             driver=none path=pci0000:00/{path}"
        );
        for line in config.chunks(32) {
            let line: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(text, "@@cfg {line}");
        }
    }
    text
}

fn scratch(test: &str) -> Scratch {
    let scratch = Scratch::new(test);
    scratch.write("host", &capture(&functions(false)));
    scratch.write("better", &capture(&functions(true)));
    scratch
}

fn run(scratch: &Scratch, arguments: &[&str]) -> Outcome {
    outcome(&mut scratch.ringfence(arguments))
}

#[test]
fn the_tree_is_aligned_and_says_why() {
    let scratch = scratch("tree");
    let tree = run(&scratch, &["groups", "--from", "host"]);
    assert_eq!((tree.code, tree.stderr.as_str()), (Some(0), ""));
    expect![[r#"
        FUNCTION        GROUP  IS A       NAME                                     DRIVER
        0000:00:02.0    0      root port  Red Hat QEMU PCIe Root port              -
        ├─0000:01:00.0  0      endpoint   Intel 82574L Gigabit Network Connection  -
        └─0000:01:00.1  0      endpoint   Intel 82574L Gigabit Network Connection  -
        0000:00:03.0    1      root port  Red Hat QEMU PCIe Root port              -
        └─0000:02:00.0  2      endpoint   Intel 82574L Gigabit Network Connection  -

        3 groups by linux-6.12, 2 of one function.
        group 0 (proven): 0000:00:02.0 0000:01:00.0 0000:01:00.1
          0000:01:00.0 is with 0000:00:02.0, because the root port 0000:00:02.0 does not keep requests from turning around below it: it has no ACS capability.
    "#]].assert_eq(&tree.stdout);
}

#[test]
fn what_is_printed_is_published() {
    let scratch = scratch("published");
    for arguments in [
        &["groups", "--json", "--from", "host"][..],
        &["groups", "--json", "--from", "host", "--model", "strict"],
        &["groups", "--json", "--from", "host", "--model", "observed"],
        &["groups", "--json"],
    ] {
        let answer = run(&scratch, arguments);
        assert_eq!(answer.code, Some(0), "{arguments:?}: {}", answer.stderr);
        schema::check("groups", &answer.stdout);
    }
    for arguments in [&["0000:01:00.0"][..], &["01:00.1", "00:02.0"], &["02:00.0", "01:00.0"]] {
        let asked = [&["why", "--json", "--from", "host"], arguments].concat();
        let answer = run(&scratch, &asked);
        assert_eq!(answer.code, Some(0), "{arguments:?}: {}", answer.stderr);
        schema::check("why", &answer.stdout);
    }
    let differences = run(&scratch, &["groups", "--json", "--diff", "host", "better"]);
    assert_eq!(differences.code, Some(1), "{}", differences.stderr);
    schema::check("groups-diff", &differences.stdout);
}

#[test]
fn what_if_is_asked_of_a_value() {
    let scratch = scratch("what-if");
    let groups = |more: &[&str]| -> Value {
        let arguments = [&["groups", "--json", "--from", "host"], more].concat();
        let answer = run(&scratch, &arguments);
        assert_eq!(answer.code, Some(0), "{more:?}: {}", answer.stderr);
        serde_json::from_str(&answer.stdout).expect("JSON")
    };
    let count = |answer: &Value| answer["groups"].as_array().map(Vec::len);
    assert_eq!(count(&groups(&[])), Some(3));
    assert_eq!(count(&groups(&["--set", "0000:00:02.0:acs=on"])), Some(4));
    assert_eq!(count(&groups(&["--set", "0000:00:03.0:acs=off"])), Some(2));
}

#[test]
fn two_hosts_are_compared() {
    let scratch = scratch("diff");
    let same = run(&scratch, &["groups", "--diff", "host", "host"]);
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), "no group changed\n"));
    let other = run(&scratch, &["groups", "--diff", "host", "better"]);
    assert_eq!(other.code, Some(1));
    expect![[r#"
        was {0000:00/02.0 0000:00/02.0/00.0 0000:00/02.0/00.1}
        is  {0000:00/02.0} {0000:00/02.0/00.0 0000:00/02.0/00.1}
          because 0000:00:02.0: the ACS control was none and is 0x001d (SV RR CR UF)
    "#]]
    .assert_eq(&other.stdout);
}

#[test]
fn why_names_register_rule_and_standing() {
    let scratch = scratch("why");
    let why = run(&scratch, &["why", "0000:01:00.0", "0000:00:02.0", "--from", "host"]);
    assert_eq!(why.code, Some(0), "{}", why.stderr);
    for part in [
        "is together with",
        "port-without-acs",
        "proven by registers",
        "0000:01:00.0: no VM can have it now: it is bound to no driver of VFIO's\n",
        "0000:01:00.0: whether it can be reset alone was not read; by its bus with 0000:01:00.1\n",
    ] {
        assert!(why.stdout.contains(part), "no {part} in {}", why.stdout);
    }
    let absent = run(&scratch, &["why", "0000:07:00.0", "--from", "host"]);
    assert_eq!((absent.code, absent.stdout.as_str()), (Some(2), ""));
    assert!(absent.stderr.contains("no function 0000:07:00.0"), "{}", absent.stderr);
}

#[test]
fn what_is_no_host_is_said_to_be_none() {
    let scratch = scratch("no-host");
    scratch.write("letter", "Dear Sir or Madam,\n");
    for arguments in [&["groups", "--from", "letter"][..], &["why", "01:00.0", "--from", "letter"]]
    {
        let refused = run(&scratch, arguments);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
        assert!(refused.stderr.contains("RF06"), "{}", refused.stderr);
    }
    let wrong = run(&scratch, &["groups", "--from", "host", "--model", "linux-5.0"]);
    assert_eq!(wrong.code, Some(2));
    let absent = run(&scratch, &["groups", "--from", "nowhere"]);
    assert_eq!(absent.code, Some(5), "{}", absent.stderr);
}

#[test]
fn a_snapshot_of_this_host_says_what_this_host_says() {
    let scratch = scratch("snapshot");
    let taken = run(&scratch, &["snapshot", "here"]);
    if taken.code != Some(0) {
        // A machine without a PCI bus has nothing to write down, and is told so.
        assert!(taken.stderr.contains("list the PCI functions"), "{}", taken.stderr);
        return;
    }
    let live = run(&scratch, &["groups", "--json"]);
    let written = run(&scratch, &["groups", "--json", "--from", "here"]);
    assert_eq!(live.stdout, written.stdout);
    let again = run(&scratch, &["snapshot", "here"]);
    assert_eq!(again.code, Some(5), "a file that is there is not written over");
}

#[test]
fn the_picture_has_every_function_and_group_and_both_themes() {
    let scratch = scratch("picture");
    let drawn = run(&scratch, &["groups", "--from", "host", "--svg", "host.svg"]);
    assert_eq!((drawn.code, drawn.stdout.as_str()), (Some(0), ""), "{}", drawn.stderr);
    let svg = std::fs::read_to_string(scratch.path().join("host.svg")).expect("it was written");
    for function in functions(false) {
        assert!(svg.contains(&format!(">{}</text>", function.address)), "{}", function.address);
    }
    assert_eq!(svg.matches("<rect class=\"group ").count(), 3 + 4, "three groups and the legend");
    assert!(svg.contains("prefers-color-scheme: dark"));
}
