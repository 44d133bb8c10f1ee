//! A guest's memory map beside what its host set apart.
//!
//! Memory is not drawn to scale: a page of firmware's would not be seen beside a terabyte. Every
//! stretch between two boundaries is a row, lowest at the bottom, and says its size.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use ringfence_addr::{Address, Gpa, Span};
use ringfence_host::{HostMemory, Region};
use ringfence_plan::{Plan, Use};

use super::text::Text;
use crate::size::Bytes;
use crate::talk::printable;

const ROW: usize = 34;
const TOP: usize = 84;
const ADDRESS: usize = 24;
const GUEST: usize = 176;
const GUEST_WIDTH: usize = 350;
const HOST: usize = 550;
const HOST_WIDTH: usize = 380;
const WIDTH: usize = HOST + HOST_WIDTH + 24;

/// Plain rules, light first, so that renderers without media queries show the light ones.
const STYLE: &str = "
text { font-family: 'DejaVu Sans', 'Noto Sans', Arial, sans-serif; font-size: 11px; fill: #1c2430; }
.title { font-size: 17px; font-weight: bold; }
.head { font-weight: bold; }
.address { font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #4a5568; }
.ground { fill: #ffffff; }
.line { stroke: #d5dbe3; stroke-width: 1; }
rect { stroke: #9aa7b5; stroke-width: 1; }
.ram { fill: #dff2e1; stroke: #3f8f4f; }
.identity { fill: #e4effc; stroke: #1f6fc4; stroke-width: 1.6; }
.reserved { fill: #fdf3dc; stroke: #b7791f; stroke-width: 1.6; }
.hole { fill: #ffffff; stroke: #c0392b; stroke-width: 1.6; stroke-dasharray: 5 3; }
.platform, .window { fill: #f1f3f6; }
.hotplug { fill: #f5e9fa; stroke: #8b3fa8; }
.region { fill: #fbe9e7; stroke: #c0392b; }
@media (prefers-color-scheme: dark) {
text { fill: #e6ebf2; }
.address { fill: #a9b4c2; }
.ground { fill: #10151c; }
.line { stroke: #2a333e; }
rect { stroke: #4d5a69; }
.ram { fill: #12301a; stroke: #58b56b; }
.identity { fill: #14293f; stroke: #5aa7f5; }
.reserved { fill: #33290f; stroke: #d9a441; }
.hole { fill: #10151c; stroke: #e57368; }
.platform, .window { fill: #1b222b; }
.hotplug { fill: #2d1a36; stroke: #c58be0; }
.region { fill: #3a1a17; stroke: #e57368; }
}
";

/// The picture of `plan` for the VM `name`.
pub(crate) fn map(plan: &Plan, hosts: &[HostMemory], name: &str) -> String {
    let regions: Vec<_> = hosts.iter().flat_map(|host| &host.regions).collect();
    let rows = rows(plan, &regions);
    let bottom = TOP + rows.len() * ROW;
    let height = bottom + 24;
    let mut body = String::new();
    let words = |body: &mut String, class, x, y, width, text: &str| {
        Text { class, x, y, width }.write(body, &printable(text));
    };
    let title = format!("Memory of {name} on {}", plan.machine);
    words(&mut body, "title", ADDRESS, 36, WIDTH - ADDRESS, &title);
    words(&mut body, "head", GUEST, 68, GUEST_WIDTH, "guest");
    words(&mut body, "head", HOST, 68, HOST_WIDTH, "what the host set apart");
    // The highest is at the top.
    for (place, row) in rows.iter().rev().enumerate() {
        let y = TOP + place * ROW;
        let line = format!(
            r#"<line class="line" x1="{ADDRESS}" y1="{0}" x2="{1}" y2="{0}"/>"#,
            y + ROW,
            WIDTH - 24
        );
        body.push_str(&(line + "\n"));
        words(
            &mut body,
            "address",
            ADDRESS,
            y + ROW - 4,
            GUEST - ADDRESS,
            &row.first().to_string(),
        );
    }
    for entry in &plan.map {
        let Some((y, tall)) = place(&rows, &entry.span, bottom) else { continue };
        body.push_str(&rectangle(GUEST, GUEST_WIDTH, y, tall, entry.usage.name()));
        let size = entry.span.length_u64().map_or(u64::MAX, NonZeroU64::get);
        let what = match entry.usage {
            Use::Platform | Use::Window => entry.reason.clone(),
            usage => format!("{usage}: {}", short(&entry.reason)),
        };
        let text = format!("{} {}", Bytes(size), what);
        words(&mut body, "what", GUEST + 8, y + tall / 2 + 4, GUEST_WIDTH - 16, &text);
    }
    for region in &regions {
        let Some(span) = guest_span(region) else { continue };
        let Some((y, tall)) = place(&rows, &span, bottom) else { continue };
        body.push_str(&rectangle(HOST, HOST_WIDTH, y, tall, "region"));
        let source = region.sources.first().map_or("", String::as_str);
        let text = format!("{} {source}", region.kind);
        words(&mut body, "what", HOST + 8, y + tall / 2 + 4, HOST_WIDTH - 16, &text);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\" stroke=\"none\"/>\n{body}</svg>\n"
    )
}

/// Everything between two neighbouring boundaries in which something lies, lowest first.
fn rows(plan: &Plan, regions: &[&Region]) -> Vec<Span<Gpa>> {
    let spans = plan.map.iter().map(|entry| entry.span);
    let spans: Vec<_> = spans.chain(regions.iter().filter_map(|one| guest_span(one))).collect();
    let mut firsts = BTreeSet::new();
    for span in &spans {
        firsts.insert(span.first());
        firsts.extend(span.last().checked_add(1));
    }
    let firsts: Vec<_> = firsts.into_iter().collect();
    let between = firsts.iter().enumerate().filter_map(|(place, first)| {
        let next = firsts.get(place + 1).and_then(|next| next.checked_sub(1));
        Span::new(*first, next.unwrap_or(Gpa::LAST))
    });
    between.filter(|row| spans.iter().any(|span| span.overlaps(row))).collect()
}

fn guest_span(region: &Region) -> Option<Span<Gpa>> {
    Span::new(Gpa::new(region.span.first().get()), Gpa::new(region.span.last().get()))
}

/// The top and the height of what lies in `span`.
fn place(rows: &[Span<Gpa>], span: &Span<Gpa>, bottom: usize) -> Option<(usize, usize)> {
    let first = rows.iter().position(|row| span.encloses(row))?;
    let last = rows.iter().rposition(|row| span.encloses(row))?;
    Some((bottom - (last + 1) * ROW, (last + 1 - first) * ROW))
}

fn rectangle(x: usize, width: usize, y: usize, tall: usize, class: &str) -> String {
    format!(
        "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"{}\" rx=\"3\"/>\n",
        y + 1,
        tall - 2
    )
}

/// A reason without what it was made of, which the host's column says.
fn short(reason: &str) -> &str {
    reason.split_once(':').map_or(reason, |(start, _)| start)
}
