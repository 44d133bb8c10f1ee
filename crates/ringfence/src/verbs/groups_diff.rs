//! `groups --diff A B`: which groups are not what they were, and because of what.

use std::path::Path;

use ringfence_host::{GroupKey, Host, Model, diff};
use serde::Serialize;

use crate::cli::Groups;
use crate::exit::Exit;
use crate::{host_source, talk};

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    model: String,
    changed: Vec<Changed>,
}

/// Groups that hold the same functions, before and after. A function is named by its place, which
/// stays when bus numbers do not.
#[derive(Serialize)]
struct Changed {
    before: Vec<Vec<String>>,
    after: Vec<Vec<String>>,
    because: Vec<String>,
}

impl From<ringfence_host::Changed> for Changed {
    fn from(changed: ringfence_host::Changed) -> Self {
        let names = |groups: Vec<Vec<GroupKey>>| {
            let name = |group: Vec<GroupKey>| group.iter().map(ToString::to_string).collect();
            groups.into_iter().map(name).collect()
        };
        let because = changed.because.iter().map(|cause| talk::printable(cause)).collect();
        Self { before: names(changed.before), after: names(changed.after), because }
    }
}

pub(super) fn run(arguments: &Groups, before: &Path, after: &Path) -> anyhow::Result<Exit> {
    let read =
        |path| super::groups::changed(host_source::host(Some(path), false)?, &arguments.about);
    // One model for both, or its rules would be what differs.
    let ((before, _), (after, model)) = (read(before)?, read(after)?);
    let answer = Answer {
        schema: "ringfence.groups-diff/1",
        model: model.to_string(),
        changed: changes(&before, &after, model),
    };
    if arguments.json {
        talk::json(&answer)?;
    } else {
        talk::data(&text(&answer))?;
    }
    Ok(if answer.changed.is_empty() { Exit::Ok } else { Exit::No })
}

fn changes(before: &Host, after: &Host, model: Model) -> Vec<Changed> {
    diff(before, after, model).into_iter().map(Changed::from).collect()
}

fn text(answer: &Answer) -> String {
    let mut text = String::new();
    for Changed { before, after, because } in &answer.changed {
        text.push_str(&format!("was {}\nis  {}\n", list(before), list(after)));
        for cause in because {
            text.push_str(&format!("  because {cause}\n"));
        }
    }
    if text.is_empty() {
        text.push_str("no group changed\n");
    }
    text
}

/// `{a b} {c}`, or that there were none.
fn list(groups: &[Vec<String>]) -> String {
    if groups.is_empty() {
        return "not there".to_owned();
    }
    let each: Vec<_> = groups.iter().map(|group| format!("{{{}}}", group.join(" "))).collect();
    each.join(" ")
}
