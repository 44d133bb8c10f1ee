//! The tree for a terminal, and below it why groups of several functions are what they are.

use anstyle::{AnsiColor, Style};
use ringfence_host::{Fact, Group, Standing};

use super::{View, kind, main_reason, name, standing};

const HEADER: Style = Style::new().bold();
const SHARED: Style = AnsiColor::Yellow.on_default();
const QUIET: Style = Style::new().dimmed();

/// Names longer than this are cut.
const NAME: usize = 56;

/// The tree with its columns aligned.
pub(crate) fn tree(view: &View<'_>) -> String {
    let mut lines = vec![Line {
        place: "FUNCTION".to_owned(),
        group: "GROUP".to_owned(),
        kind: "IS A".to_owned(),
        name: "NAME".to_owned(),
        driver: "DRIVER".to_owned(),
        style: HEADER,
    }];
    lines.extend(view.rows.iter().filter_map(|row| line(view, row)));
    let width = |of: fn(&Line) -> &str| lines.iter().map(|line| columns(of(line))).max();
    let widths = [
        width(|line| &line.place),
        width(|line| &line.group),
        width(|line| &line.kind),
        width(|line| &line.name),
    ]
    .map(|width| width.unwrap_or(0));
    let mut text = String::new();
    for line in &lines {
        let style = line.style;
        let Line { place, group, kind, name, driver, .. } = line;
        let cells = [place, group, kind, name];
        let mut row = String::new();
        for (cell, width) in cells.into_iter().zip(widths) {
            row.push_str(cell);
            row.push_str(&" ".repeat(width - columns(cell) + 2));
        }
        row.push_str(driver);
        text.push_str(&format!("{style}{}{style:#}\n", row.trim_end()));
    }
    text.push_str(&below(view));
    text
}

struct Line {
    place: String,
    group: String,
    kind: String,
    name: String,
    driver: String,
    style: Style,
}

fn line(view: &View<'_>, row: &super::Row) -> Option<Line> {
    let function = view.host.function(row.address)?;
    let group = view.place(row.address);
    let is_shared = group.is_some_and(|place| view.partition.groups[place].functions.len() > 1);
    let style = match group {
        None => QUIET,
        Some(_) if is_shared => SHARED,
        Some(_) => Style::new(),
    };
    Some(Line {
        place: format!("{}{}", row.branches(), row.address),
        group: group.map_or_else(|| "none".to_owned(), |place| view.label(place).to_owned()),
        kind: kind(function),
        name: cut(&name(function), NAME),
        driver: match &function.driver {
            Fact::Known(Some(driver)) => crate::talk::printable(driver),
            Fact::Known(None) => "-".to_owned(),
            Fact::Unknown(_) => "?".to_owned(),
        },
        style,
    })
}

/// The text in at most `columns` columns.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(columns.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

/// Groups of several functions with their reason, what is in none, and what the marks mean.
fn below(view: &View<'_>) -> String {
    let mut text = String::new();
    let groups = &view.partition.groups;
    let single = groups.iter().filter(|group| group.functions.len() == 1).count();
    let weak = |group: &&Group| group.functions.len() == 1 && standing(group) != Standing::Proven;
    text.push_str(&format!(
        "\n{} groups by {}, {single} of one function",
        groups.len(),
        view.partition.model
    ));
    match groups.iter().filter(weak).count() {
        0 => text.push_str(".\n"),
        count => text.push_str(&format!("; {count} of these not proven (`why` tells).\n")),
    }
    for (place, group) in groups.iter().enumerate().filter(|(_, one)| one.functions.len() > 1) {
        let names: Vec<_> = group.functions.iter().take(8).map(ToString::to_string).collect();
        let more = group.functions.len().saturating_sub(names.len());
        text.push_str(&format!(
            "{SHARED}group {}{SHARED:#} ({}): {}{}\n",
            view.label(place),
            standing(group),
            names.join(" "),
            if more > 0 { format!(" and {more} more") } else { String::new() },
        ));
        if let Some(reason) = main_reason(group) {
            text.push_str(&format!("  {}\n", crate::talk::printable(&reason.sentence)));
        }
    }
    // One reason for all of them is said once.
    let mut said = std::collections::BTreeSet::new();
    for (address, reason) in &view.partition.without {
        if said.insert((reason.rule, reason.standing)) {
            text.push_str(&format!(
                "{QUIET}in no group:{QUIET:#} {address}: {}\n",
                crate::talk::printable(&reason.sentence)
            ));
        }
    }
    if view.has_other_groups() {
        text.push_str(&format!(
            "{} in front of a number: not a group of the kernel's that ran.\n",
            super::OTHER
        ));
    }
    text
}
