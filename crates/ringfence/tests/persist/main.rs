//! `claim --persist` at real boots: systemd, udev, an initramfs, and cards that moved meanwhile.

mod boots;

use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::{Result, anyhow, ensure};
use ringfence_lab::Console;
use ringfence_lab::harness::{self, Case, Need};

use boots::Boots;

const HOST: &[Need] = &[Need::Lab, Need::Program("qemu-system-x86_64")];

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("udev, systemd and initramfs-tools take what is written", HOST, written),
        Case::new("a card whose bus moved is kept from its driver and claimed", HOST, kept),
        Case::new("another card of the same kind is left to its driver", HOST, left),
        Case::new(
            "another card in the place is left to its driver, and that is said",
            HOST,
            changed,
        ),
        Case::new("the unit of the host service holds the claim and releases it", HOST, served),
        Case::new("a release brings the driver back, and nothing stays behind", HOST, released),
    ])
}

/// What happened, for all cases.
fn boots() -> Result<&'static Boots> {
    static BOOTS: OnceLock<Result<Boots, String>> = OnceLock::new();
    let boots = BOOTS.get_or_init(|| boots::run().map_err(|error| format!("{error:#}")));
    boots.as_ref().map_err(|error| anyhow!("{error}"))
}

/// What was said of a function at a time: its address, its driver and its override.
fn expect_card(console: &Console, function: &str, time: &str, expected: &str) -> Result<()> {
    let said = console.value(&format!("{time}-{function}"));
    ensure!(said == Some(expected), "{time}, {function}: {said:?}\n{console}");
    Ok(())
}

/// Every value of a key.
fn all<'a>(console: &'a Console, key: &str) -> Vec<&'a str> {
    console.records().filter(|(found, _)| *found == key).map(|(_, value)| value).collect()
}

/// The functions below the ports of the cards.
const CARD: [&str; 2] = ["0000:00:02.0.0", "0000:00:02.0.1"];
const SAME_KIND: &str = "0000:00:03.0.0";
const REPLACED: &str = "0000:00:04.0.0";

fn written() -> Result<()> {
    let first = &boots()?.first;
    // Without anything persisted the driver has them all before there is a root.
    for time in ["initramfs", "before"] {
        expect_card(first, CARD[0], time, "0000:01:00.0 e1000e (null)")?;
        expect_card(first, CARD[1], time, "0000:01:00.1 e1000e (null)")?;
    }
    ensure!(all(first, "status") == ["0", "0"], "{first}");
    ensure!(first.value("again") == Some("0"), "persisted twice\n{first}");
    ensure!(first.value("verify") == Some("0"), "udev does not like the rule\n{first}");
    ensure!(first.value("hook") == Some("0"), "the hook failed\n{first}");
    ensure!(first.value("modules").is_some_and(|all| all.contains("vfio-pci")), "{first}");
    let expected = [
        "./conf/modules",
        "./etc/ringfence/claims/0000:00+02.0+00.0.json",
        "./etc/ringfence/claims/0000:00+04.0+00.0.json",
        "./etc/udev/rules.d/10-ringfence.rules",
        "./usr/bin/ringfence",
    ];
    ensure!(all(first, "staged") == expected, "{first}");
    Ok(())
}

fn kept() -> Result<()> {
    let second = &boots()?.second;
    for time in ["initramfs", "root"] {
        expect_card(second, CARD[0], time, "0000:02:00.0 vfio-pci vfio-pci")?;
        expect_card(second, CARD[1], time, "0000:02:00.1 vfio-pci vfio-pci")?;
    }
    let claimed = ["0000:02:00.0", "0000:02:00.1"]
        .map(|function| format!("{function}  vfio-pci, before e1000e"));
    ensure!(all(second, "claim") == claimed, "{second}");
    let kernel = all(second, "kernel");
    ensure!(!kernel.is_empty(), "the driver's other cards are not in the kernel's log\n{second}");
    let is_touched = kernel.iter().any(|line| line.contains(" 0000:02:00."));
    ensure!(!is_touched, "the driver had a card in between\n{second}");
    Ok(())
}

fn left() -> Result<()> {
    let second = &boots()?.second;
    for time in ["initramfs", "root", "released"] {
        expect_card(second, SAME_KIND, time, "0000:03:00.0 e1000e (null)")?;
    }
    Ok(())
}

fn changed() -> Result<()> {
    let second = &boots()?.second;
    for time in ["initramfs", "root", "released"] {
        expect_card(second, REPLACED, time, "0000:04:00.0 e1000e (null)")?;
    }
    ensure!(second.value("unit") == Some("failed"), "nothing is wrong for systemd\n{second}");
    let log = all(second, "log");
    let words = ["RF0718", "0000:00+04.0+00.0", "0000:04:00.0", "subsystem 8086:1234"];
    let is_said = log.iter().any(|line| words.iter().all(|word| line.contains(word)));
    ensure!(is_said, "the log does not say what changed\n{second}");
    Ok(())
}

fn released() -> Result<()> {
    let second = &boots()?.second;
    expect_card(second, CARD[0], "released", "0000:02:00.0 e1000e (null)")?;
    expect_card(second, CARD[1], "released", "0000:02:00.1 e1000e (null)")?;
    ensure!(all(second, "forgotten") == ["0", "0"], "{second}");
    ensure!(all(second, "left").is_empty(), "{second}");
    Ok(())
}

fn served() -> Result<()> {
    let second = &boots()?.second;
    ensure!(second.value("serve") == Some("active"), "{second}");
    let claims: serde_json::Value = serde_json::from_str(second.value("lock").unwrap_or("null"))?;
    ensure!(claims["claims"][0]["lock"] == "held", "{claims:#}\n{second}");
    let opened = second.value("opened").unwrap_or_default();
    ensure!(opened.contains("busy"), "somebody else opened the group: {opened}\n{second}");
    // Killed, it is started again by systemd, which kept the journal; that one is replaced.
    for (what, is) in [("stored", "1"), ("again", "active"), ("stored-again", "1")] {
        ensure!(second.value(what) == Some(is), "{what}\n{second}");
    }
    ensure!(second.value("given-back") == Some("0"), "{second}");
    ensure!(!all(second, "service").iter().any(|line| line.contains("not permitted")), "{second}");
    Ok(())
}
