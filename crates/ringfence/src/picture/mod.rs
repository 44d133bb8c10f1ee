//! Pictures. `groups --svg`: the PCI tree with groups as outlines, and the reason on each.
//!
//! One line a function, the tree to the left, what made the group to the right of its outline. Many
//! functions are set in columns, so that the picture stays near the shape of a screen or a page.

mod columns;
mod map;
mod style;
mod text;

use std::fmt::Write;

use ringfence_host::{Fact, Reason, Rule, Standing};

use crate::isolation::{View, cut, kind, main_reason, name, standing};
use columns::{Run, columns};
pub(crate) use map::map;
use text::{Text, escape, letters, wrap};

/// Pixels from line to line.
const LINE: usize = 20;
/// Pixels of one column of the picture.
const COLUMN: usize = 1140;
/// Where the reasons begin in a column.
const REASONS: usize = 560;
/// Pixels a level of the tree is set in.
const LEVEL: usize = 16;
const MARGIN: usize = 16;
const HEAD: usize = 76;
/// Between two outlines, so that they do not touch.
const GAP: usize = 6;

/// The picture of a host's groups.
pub(crate) fn svg(view: &View<'_>, title: &str) -> String {
    let columns = columns(view);
    let height = columns.iter().map(|column| height(column)).max().unwrap_or(0);
    let (wide, high) = (MARGIN + columns.len().max(1) * COLUMN, HEAD + height + MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide}\" height=\"{high}\" \
         viewBox=\"0 0 {wide} {high}\" role=\"img\">\n<title>{}</title>\n<style>{}</style>\n\
         <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n",
        escape(title),
        style::STYLE
    );
    head(&mut svg, view, title);
    for (index, runs) in columns.iter().enumerate() {
        column(&mut svg, view, runs, MARGIN + index * COLUMN);
    }
    svg.push_str("</svg>\n");
    svg
}

fn height(runs: &[Run]) -> usize {
    runs.iter().map(|run| run.rows.len() * LINE + GAP).sum()
}

fn head(svg: &mut String, view: &View<'_>, title: &str) {
    Text { class: "title", x: MARGIN, y: 28, width: 860 }.write(svg, title);
    let groups = &view.partition.groups;
    let shared = groups.iter().filter(|group| group.functions.len() > 1).count();
    let summary = format!(
        "{} functions in {} groups by {}, {shared} of several functions",
        view.rows.len(),
        groups.len(),
        view.partition.model
    );
    Text { class: "small", x: MARGIN, y: 46, width: 520 }.write(svg, &summary);
    let mut x = MARGIN;
    for (class, meaning, wide) in [
        ("proven", "several, registers prove it", 190),
        ("asserted", "rests on an assertion", 160),
        ("unknown", "rests on what was not read", 190),
        ("none", "in no group", 120),
    ] {
        let y = 56;
        let _ = writeln!(
            svg,
            "<rect class=\"group {class} shared\" x=\"{x}\" y=\"{y}\" width=\"18\" height=\"10\" \
             rx=\"3\"/>"
        );
        Text { class: "small", x: x + 24, y: y + 9, width: wide }.write(svg, meaning);
        x += wide;
    }
}

fn column(svg: &mut String, view: &View<'_>, runs: &[Run], x: usize) {
    let mut y = HEAD;
    // Where the line down from each level begins, for the levels above the next function.
    let mut parents: Vec<usize> = Vec::new();
    for run in runs {
        outline(svg, view, run, x, y);
        for (number, &row) in run.rows.iter().enumerate() {
            let middle = y + number * LINE + LINE / 2;
            branch(svg, &mut parents, view.rows[row].depth(), x, middle);
            function(svg, view, row, x, middle);
        }
        y += run.rows.len() * LINE + GAP;
    }
}

/// The outline of what stands together of a group, with the group's name and reason.
fn outline(svg: &mut String, view: &View<'_>, run: &Run, x: usize, y: usize) {
    let high = run.rows.len() * LINE;
    let wide = COLUMN - MARGIN;
    let Some(place) = run.group else {
        let _ = writeln!(
            svg,
            "<rect class=\"group none\" x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{high}\" \
             rx=\"5\"/>"
        );
        let address = view.rows[run.rows[0]].address;
        let reason = view.partition.without.get(&address).map(|reason| &reason.sentence);
        lines(svg, "quiet", reason.map_or("in no group", |text| text), x, y, run.rows.len());
        return;
    };
    let group = &view.partition.groups[place];
    let class = match standing(group) {
        Standing::Proven => "proven",
        Standing::Asserted => "asserted",
        Standing::Unknown => "unknown",
    };
    let shared = if group.functions.len() > 1 { " shared" } else { "" };
    let _ = writeln!(
        svg,
        "<rect class=\"group {class}{shared}\" x=\"{x}\" y=\"{y}\" width=\"{wide}\" \
         height=\"{high}\" rx=\"5\"/>"
    );
    let part = match group.functions.len() - run.rows.len() {
        0 => String::new(),
        _ => format!(" ({} of {})", run.rows.len(), group.functions.len()),
    };
    let reason = main_reason(group).map_or_else(String::new, words);
    let text = format!("group {}{part}: {reason}", view.label(place));
    let class = if group.functions.len() > 1 { "reason" } else { "quiet" };
    lines(svg, class, &text, x, y, run.rows.len());
}

/// A reason in few words: that a function is alone is said by its outline, and of what keeps it so
/// there is room for the fact, not for the registers behind it.
fn words(reason: &Reason) -> String {
    let sentence = crate::talk::printable(&reason.sentence);
    match sentence.split_once(": ") {
        Some((_, because)) if reason.rule == Rule::Alone => {
            let facts = because.split("; ").map(|clause| {
                let fact = clause.split_once(": ").map_or(clause, |(fact, _)| fact);
                fact.trim_end_matches('.')
            });
            let facts: Vec<_> =
                facts.filter(|fact| *fact != "it has no sibling functions").collect();
            format!("alone, {}", facts.join("; "))
        }
        _ => sentence,
    }
}

/// As many lines of a reason as its outline has.
fn lines(svg: &mut String, class: &'static str, text: &str, x: usize, y: usize, count: usize) {
    let width = COLUMN - MARGIN - REASONS - 12;
    for (number, line) in wrap(text, width, count).iter().enumerate() {
        let y = y + number * LINE + LINE / 2 + 4;
        Text { class, x: x + REASONS, y, width }.write_with_title(svg, line, text);
    }
}

/// The line from a function to the bridge above it.
fn branch(svg: &mut String, parents: &mut Vec<usize>, depth: usize, x: usize, middle: usize) {
    parents.truncate(depth);
    // In a column that begins below a bridge, the bridge is in the one before.
    parents.resize(depth, HEAD);
    if let Some(&above) = parents.last() {
        let down = x + 10 + (depth - 1) * LEVEL;
        let right = down + LEVEL - 4;
        let _ = writeln!(svg, "<path class=\"branch\" d=\"M{down} {above}V{middle}H{right}\"/>");
    }
    parents.push(middle + 6);
}

fn function(svg: &mut String, view: &View<'_>, row: usize, x: usize, middle: usize) {
    let address = view.rows[row].address;
    let Some(function) = view.host.function(address) else { return };
    let left = x + 8 + view.rows[row].depth() * LEVEL;
    let baseline = middle + 4;
    Text { class: "address", x: left, y: baseline, width: 100 }.write(svg, &address.to_string());
    let name_at = left + 100;
    let driver = match &function.driver {
        Fact::Known(Some(driver)) => format!(" · {}", crate::talk::printable(driver)),
        _ => String::new(),
    };
    let width = (x + REASONS).saturating_sub(name_at + 10);
    let class = if function.is_bridge() { "bridge" } else { "name" };
    let named = format!("{}: {}", kind(function), name(function));
    // The name gives way: who has a function is what people look for.
    let room = letters(width).saturating_sub(driver.chars().count());
    let text = format!("{}{driver}", cut(&named, room));
    let whole = format!("{named}{driver}");
    Text { class, x: name_at, y: baseline, width }.write_with_title(svg, &text, &whole);
}
