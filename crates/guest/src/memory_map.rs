//! `guest memory-map PLAN`: whether this machine's memory is as planned.
//!
//! PLAN has a line per span of the plan, `ram FIRST LAST` or `off FIRST LAST`, the numbers as in
//! `/proc/iomem`. What the kernel made of the firmware's map (`/proc/iomem`) and the firmware's map
//! itself (`/sys/firmware/memmap`) are held against it; every difference is a line on standard
//! output, and makes the program fail.

use std::fs;
use std::path::Path;

use ringfence_addr::{Gpa, Span, SpanSet};

const RAM: &str = "System RAM";

/// What firmware and the kernel take of a PC's memory before they count it, and more.
const TAKEN_MOST: u64 = 32 << 20;

/// A span, and what it is.
struct Entry {
    span: Span<Gpa>,
    what: String,
}

/// Compares, and prints what differs.
pub(crate) fn run(plan: &str) -> Result<(), String> {
    let planned: Vec<Entry> =
        read(Path::new(plan))?.lines().map(plan_line).collect::<Result<_, _>>()?;
    let listed = read(Path::new("/proc/iomem"))?;
    let listed: Vec<Entry> = listed.lines().map(iomem_line).collect::<Result<_, _>>()?;
    let firmware = firmware_map()?;
    let found = differences(&planned, &listed, &firmware);
    found.iter().for_each(|line| println!("{line}"));
    println!(
        "{} spans planned, {} listed, {} of firmware",
        planned.len(),
        listed.len(),
        firmware.len()
    );
    if found.is_empty() { Ok(()) } else { Err(format!("{} differences", found.len())) }
}

fn differences(planned: &[Entry], listed: &[Entry], firmware: &[Entry]) -> Vec<String> {
    let mut found = Vec::new();
    let ram = set(planned, |entry| entry.what == "ram");
    for (source, entries) in [("/proc/iomem", listed), ("firmware's map", firmware)] {
        for entry in entries.iter().filter(|entry| entry.what == RAM) {
            for off in planned.iter().filter(|it| it.what == "off" && it.span.overlaps(&entry.span))
            {
                found.push(format!(
                    "{source}: memory at {}, to be kept off {}",
                    entry.span, off.span
                ));
            }
            if !ram.encloses(&entry.span) {
                found.push(format!("{source}: memory at {}, where none was planned", entry.span));
            }
        }
        let has = bytes(&set(entries, |entry| entry.what == RAM));
        let wanted = bytes(&ram);
        if has + TAKEN_MOST < wanted {
            found.push(format!("{source}: {has} bytes of memory, where {wanted} were planned"));
        }
    }
    // Whoever looks for room must see that there is none.
    let held = set(listed, |entry| entry.what == "Reserved" || entry.what.starts_with("pnp "));
    for off in planned.iter().filter(|entry| entry.what == "off") {
        if !held.encloses(&off.span) {
            found.push(format!("/proc/iomem: nothing holds {}", off.span));
        }
        for entry in listed.iter().filter(|it| is_function(&it.what) && it.span.overlaps(&off.span))
        {
            found.push(format!("/proc/iomem: {} at {}, to be kept off", entry.what, entry.span));
        }
    }
    found
}

fn set(entries: &[Entry], is_one: impl Fn(&Entry) -> bool) -> SpanSet<Gpa> {
    entries.iter().filter(|entry| is_one(entry)).map(|entry| entry.span).collect()
}

fn bytes(set: &SpanSet<Gpa>) -> u64 {
    set.iter().filter_map(|span| span.length_u64()).map(std::num::NonZeroU64::get).sum()
}

/// `0000:00:02.0`, as a base address is listed.
fn is_function(what: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    what.split_once('.').is_some_and(|(front, last)| digits(last) && front.split(':').all(digits))
}

fn plan_line(line: &str) -> Result<Entry, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [what @ ("ram" | "off"), first, last] => {
            Ok(Entry { span: span(first, last)?, what: (*what).to_owned() })
        }
        _ => Err(format!("{line:?} is no line of a plan")),
    }
}

/// `  00100000-7fffffff : System RAM`, however deep.
fn iomem_line(line: &str) -> Result<Entry, String> {
    let parts = line.split_once(" : ").and_then(|(span, what)| Some((span.split_once('-')?, what)));
    let ((first, last), what) = parts.ok_or_else(|| format!("{line:?} is no line of iomem"))?;
    Ok(Entry { span: span(first.trim(), last)?, what: what.to_owned() })
}

fn firmware_map() -> Result<Vec<Entry>, String> {
    let folder = Path::new("/sys/firmware/memmap");
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let one = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.map_err(|error| error.to_string())?.path();
        let text = |name: &str| Ok::<_, String>(read(&path.join(name))?.trim().to_owned());
        let number = |name: &str| Ok::<_, String>(text(name)?.trim_start_matches("0x").to_owned());
        Ok(Entry { span: span(&number("start")?, &number("end")?)?, what: text("type")? })
    };
    entries.map(one).collect()
}

fn span(first: &str, last: &str) -> Result<Span<Gpa>, String> {
    let number =
        |text: &str| u64::from_str_radix(text, 16).map_err(|error| format!("{text}: {error}"));
    let (first, last) = (Gpa::new(number(first)?), Gpa::new(number(last)?));
    Span::new(first, last).ok_or_else(|| format!("{last} is before {first}"))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "ram 0 7b7fffff\noff 7b800000 7fffffff\nram 100000000 1847fffff";

    fn entries(text: &str, line: fn(&str) -> Result<Entry, String>) -> Vec<Entry> {
        text.lines().map(|one| line(one).expect("well formed")).collect()
    }

    fn found(listed: &str) -> Vec<String> {
        let listed = entries(listed, iomem_line);
        let firmware = entries(PLAN, plan_line).into_iter().filter(|entry| entry.what == "ram");
        let firmware: Vec<Entry> =
            firmware.map(|entry| Entry { what: RAM.to_owned(), ..entry }).collect();
        differences(&entries(PLAN, plan_line), &listed, &firmware)
    }

    const GOOD: &str = "00001000-0009fbff : System RAM\n00100000-7b7fffff : System RAM\n\
        7b800000-afffffff : PCI Bus 0000:00\n  7b800000-7fffffff : pnp 00:05\n\
        fd000000-fdffffff : 0000:00:02.0\n100000000-1847fffff : System RAM";

    #[test]
    fn a_map_as_planned_has_no_difference() {
        assert_eq!(found(GOOD), [""; 0]);
    }

    #[test]
    fn every_difference_is_found() {
        for (from, to, what) in [
            ("pnp 00:05", "PCI Bus", "nothing holds"),
            ("7b7fffff : S", "7fffffff : S", "to be kept off"),
            ("1847fffff : S", "1857fffff : S", "where none was planned"),
            ("1847fffff : S", "1047fffff : S", "were planned"),
            ("fd000000-fdffffff", "7c000000-7cffffff", "0000:00:02.0 at"),
        ] {
            let told = found(&GOOD.replace(from, to));
            assert!(told.iter().any(|line| line.contains(what)), "{what}: {told:?}");
        }
    }
}
