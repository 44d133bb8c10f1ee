//! `groups --diff A B`: which functions changed their company between two hosts.

use std::collections::BTreeMap;
use std::path::Path;

use ringfence_addr::PciAddress;
use ringfence_host::Partition;
use serde::Serialize;

use crate::cli::Groups;
use crate::exit::Exit;
use crate::isolation::{View, main_reason};
use crate::{host_source, talk};

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    models: [String; 2],
    only_before: Vec<String>,
    only_after: Vec<String>,
    changed: Vec<Changed>,
}

/// A function whose company is another.
#[derive(Serialize)]
struct Changed {
    address: String,
    before: Vec<String>,
    after: Vec<String>,
    because: Option<String>,
}

pub(super) fn run(arguments: &Groups, before: &Path, after: &Path) -> anyhow::Result<Exit> {
    let (before, old) =
        super::groups::changed(host_source::host(Some(before), false)?, &arguments.about)?;
    let (after, new) =
        super::groups::changed(host_source::host(Some(after), false)?, &arguments.about)?;
    let (old, new) = (View::new(&before, old), View::new(&after, new));
    let (was, is) = (company(&old.partition), company(&new.partition));
    let answer = Answer {
        schema: "ringfence.groups-diff/1",
        models: [old.partition.model, new.partition.model].map(str::to_owned),
        only_before: missing(&was, &is),
        only_after: missing(&is, &was),
        changed: changes(&was, &is, &new.partition),
    };
    if arguments.json {
        talk::json(&answer)?;
    } else {
        talk::data(&text(&answer))?;
    }
    let is_same =
        answer.changed.is_empty() && answer.only_before.is_empty() && answer.only_after.is_empty();
    Ok(if is_same { Exit::Ok } else { Exit::No })
}

type Company<'a> = BTreeMap<PciAddress, &'a [PciAddress]>;

fn company(partition: &Partition) -> Company<'_> {
    let each = partition.groups.iter();
    each.flat_map(|group| group.functions.iter().map(|one| (*one, group.functions.as_slice())))
        .collect()
}

fn missing(there: &Company<'_>, here: &Company<'_>) -> Vec<String> {
    there.keys().filter(|one| !here.contains_key(one)).map(ToString::to_string).collect()
}

fn changes(was: &Company<'_>, is: &Company<'_>, after: &Partition) -> Vec<Changed> {
    let mut changes = Vec::new();
    for (address, now) in is {
        let Some(before) = was.get(address).filter(|before| *before != now) else { continue };
        let reason = after.group_of(*address).and_then(main_reason);
        let names = |functions: &[PciAddress]| functions.iter().map(ToString::to_string).collect();
        changes.push(Changed {
            address: address.to_string(),
            before: names(before),
            after: names(now),
            because: reason.map(|reason| talk::printable(&reason.sentence)),
        });
    }
    changes
}

fn text(answer: &Answer) -> String {
    let mut text = String::new();
    for (functions, what) in [(&answer.only_before, "gone"), (&answer.only_after, "new")] {
        for address in functions {
            text.push_str(&format!("{address}: {what}\n"));
        }
    }
    for change in &answer.changed {
        let list = |functions: &[String]| match functions.len() {
            1 => "alone".to_owned(),
            _ => {
                let others = functions.iter().filter(|one| **one != change.address);
                let shown: Vec<_> = others.take(6).cloned().collect();
                let more = functions.len() - 1 - shown.len();
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("with {}{more}", shown.join(" "))
            }
        };
        let Changed { address, before, after, because } = change;
        text.push_str(&format!("{address}: was {}, is {}\n", list(before), list(after)));
        if let Some(because) = because {
            text.push_str(&format!("  {because}\n"));
        }
    }
    if text.is_empty() {
        text.push_str("no function changed its company\n");
    }
    text
}
