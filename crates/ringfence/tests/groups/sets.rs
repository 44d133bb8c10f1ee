//! Groups as sets of addresses, to be compared whatever their numbers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

pub(crate) type Set = BTreeSet<String>;
pub(crate) type Sets = BTreeSet<Set>;

/// Lines of `group address`.
pub(crate) fn of_kernel(text: &str) -> Result<Sets> {
    let mut groups: BTreeMap<&str, Set> = BTreeMap::new();
    for line in text.lines() {
        let (group, address) =
            line.split_once(' ').with_context(|| format!("the line {line:?}"))?;
        groups.entry(group).or_default().insert(address.to_owned());
    }
    Ok(groups.into_values().collect())
}

/// What `groups --json` printed.
pub(crate) fn of_answer(answer: &Value) -> Result<Sets> {
    let groups = answer["groups"].as_array().context("groups")?;
    let address = |function: &Value| function["address"].as_str().map(str::to_owned);
    let set = |group: &Value| -> Result<Set> {
        let functions = group["functions"].as_array().context("functions")?;
        functions.iter().map(|one| address(one).context("address")).collect()
    };
    groups.iter().map(set).collect()
}
