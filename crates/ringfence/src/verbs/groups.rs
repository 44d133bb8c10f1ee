//! `groups`: the isolation groups of a host, as a tree, as JSON or as a picture.

use std::path::Path;

use anyhow::Context;
use ringfence_host::{Host, Model, WhatIf, model_of_kernel};

use crate::cli::{About, Groups};
use crate::exit::Exit;
use crate::isolation::{Answer, View, differences, situation, tree};
use crate::talk::Trouble;
use crate::{host_source, picture, talk};

pub(crate) fn run(arguments: &Groups) -> anyhow::Result<Exit> {
    if let Some([before, after]) = arguments.diff.as_deref() {
        return super::groups_diff::run(arguments, before, after);
    }
    let host = host_source::host(arguments.about.from.as_deref(), arguments.about.wake)?;
    let (host, model) = changed(host, &arguments.about)?;
    let view = View::new(&host, model);
    if arguments.json {
        talk::json(&Answer::new(&view, model.to_string(), differences(&view)))?;
        return Ok(Exit::Ok);
    }
    tell(&view);
    match &arguments.svg {
        Some(file) => write(file, &picture::svg(&view, &title(&host, model)))?,
        None => talk::data(&tree(&view))?,
    }
    Ok(Exit::Ok)
}

/// The host as it is asked about, and the model to ask.
pub(super) fn changed(host: Host, about: &About) -> anyhow::Result<(Host, Model)> {
    let model = about.model.unwrap_or_else(|| model_of_kernel(&host));
    let changes = about.changes();
    let host = WhatIf::apply_all(&changes, &host).map_err(|error| {
        let next = "see the addresses with `ringfence groups`, then ask again";
        Trouble::new(Exit::Usage, error.to_string(), next)
    })?;
    Ok((host, model))
}

/// What people should know besides the groups.
pub(super) fn tell(view: &View<'_>) {
    for line in situation(view.host).unwrap_or_default() {
        talk::say(line);
    }
    for remark in &view.host.remarks {
        talk::say(talk::printable(remark));
    }
    for difference in differences(view).unwrap_or_default() {
        talk::say(format_args!("the kernel differs: {}", difference.sentence));
    }
}

fn title(host: &Host, model: Model) -> String {
    match host.kernel.release.known() {
        Some(release) => {
            format!("Isolation groups by {model}, Linux {}", talk::printable(release))
        }
        None => format!("Isolation groups by {model}"),
    }
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
