//! The unit that is shipped, under a real systemd: its box is verified, a lesser one is refused for
//! what it lacks, and what can be done without the box cannot be done in it.

mod host;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use ringfence_lab::harness::{self, Case, Need};

const HOST: &[Need] = &[Need::Lab, Need::Program("qemu-system-x86_64")];

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("the fence finds the whole box that the unit makes", HOST, whole),
        Case::new("a unit with the host's network is refused", HOST, || lacks("network")),
        Case::new("a unit with the host's mounts is refused", HOST, || lacks("mounts")),
        Case::new("a unit without a filter of calls is refused", HOST, || lacks("filter")),
        Case::new("a unit with some other filter is refused", HOST, || lacks("other-filter")),
        Case::new("a unit whose filter kills is taken as well", HOST, killing),
        Case::new("a unit that may gain rights is refused", HOST, || lacks("new-privileges")),
        Case::new("a unit that has a right is refused", HOST, || lacks("capabilities")),
        Case::new("a unit without any box is refused for all of it", HOST, || lacks("all")),
        Case::new("every way out is open without the box and closed in it", HOST, ways_out),
    ])
}

fn whole() -> Result<()> {
    expect_up("whole")
}

/// systemd's default is to kill for a forbidden call.
fn killing() -> Result<()> {
    expect_up("kills")
}

fn expect_up(instance: &str) -> Result<()> {
    let console = host::console()?;
    ensure!(console.value(&format!("{instance}-state")) == Some("active"), "{console}");
    let text = console.value(&format!("{instance}-status")).context("no status")?;
    let status: serde_json::Value = serde_json::from_str(text)?;
    let entries = status["fences"][0]["jail"].as_array().context("no report")?;
    for protection in host::VERIFIED.iter().chain(host::VERIFIED_BESIDES) {
        let is_held = entries
            .iter()
            .any(|entry| entry["protection"] == *protection && entry["standing"] == "held");
        ensure!(is_held, "{protection} is not held: {status:#}\n{console}");
    }
    Ok(())
}

fn lacks(instance: &str) -> Result<()> {
    let console = host::console()?;
    let lesser = host::LESSER.iter().find(|lesser| lesser.name == instance);
    let lesser = lesser.context("an instance of that name")?;
    let state = console.value(&format!("{instance}-state"));
    ensure!(state == Some("failed"), "it is {state:?}\n{console}");
    let said = console.value(&format!("{instance}-said")).unwrap_or_default();
    ensure!(said.contains("RF0501"), "{said}\n{console}");
    for protection in host::VERIFIED {
        let is_named = said.contains(&format!("{protection} ("));
        let is_lacking = lesser.lacks.contains(protection);
        ensure!(is_named == is_lacking, "{protection}: {said}\n{console}");
    }
    Ok(())
}

fn ways_out() -> Result<()> {
    let console = host::console()?;
    for (way, _) in host::WAYS {
        for (instance, expected) in [("open", "out"), ("closed", "held")] {
            let outcome = console.value(&format!("{instance}-{way}"));
            ensure!(outcome == Some(expected), "{instance}: {way}: {outcome:?}\n{console}");
        }
    }
    Ok(())
}
