//! `check`: whether a plan holds, by code that did not make it, and whether a guest goes by it.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use ringfence_plan::check::{GuestMemory, Violation, check, check_guest};
use ringfence_refusal::Refusal;
use serde::Serialize;

use crate::cli;
use crate::exit::Exit;
use crate::placement::Asked;
use crate::talk::{self, Trouble};

/// The longest `/proc/iomem` that is read.
const IOMEM_BYTES_MAX: u64 = 4 << 20;

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    verdict: &'static str,
    violations: Vec<Found>,
    refusals: Vec<String>,
}

#[derive(Serialize)]
struct Found {
    rule: &'static str,
    first: Option<String>,
    last: Option<String>,
    sentence: String,
}

pub(crate) fn run(arguments: &cli::Check) -> anyhow::Result<Exit> {
    let asked = Asked::read(&arguments.vm, &arguments.from)?;
    let guest = arguments.guest.as_deref().map(read).transpose()?;
    let request = asked.request();
    let (violations, refusals) = match asked.plan() {
        Ok(plan) => {
            let mut violations = check(&asked.memories, &request, &plan);
            if let Some(guest) = &guest {
                violations.extend(check_guest(&plan, guest));
            }
            (violations, Vec::new())
        }
        Err(refusals) => (Vec::new(), refusals),
    };
    let answer = Answer::new(&violations, &refusals);
    let exit = if answer.verdict == "holds" { Exit::Ok } else { Exit::No };
    if arguments.json {
        talk::json(&answer)?;
        return Ok(exit);
    }
    for refusal in &answer.refusals {
        talk::say(format_args!("refused: {refusal}"));
    }
    for found in &answer.violations {
        talk::data(&format!("{}: {}\n", found.rule, found.sentence))?;
    }
    if exit == Exit::Ok {
        let also = if guest.is_some() { ", and the guest goes by it" } else { "" };
        talk::data(&format!("the plan holds{also}\n"))?;
    }
    Ok(exit)
}

/// What the kernel of the guest at `root` uses as memory.
fn read(root: &Path) -> anyhow::Result<GuestMemory> {
    let path = root.join("proc/iomem");
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(IOMEM_BYTES_MAX).read_to_string(&mut text))
        .with_context(|| format!("cannot read {}", path.display()))?;
    GuestMemory::read(&text).map_err(|why| {
        let what = format!("{} cannot be used: {why}", path.display());
        Trouble::new(Exit::Usage, what, "give the `/` of a running guest, read as root").into()
    })
}

impl Answer {
    fn new(violations: &[Violation], refusals: &[Refusal]) -> Self {
        let verdict = match (violations, refusals) {
            ([], []) => "holds",
            (_, []) => "broken",
            _ => "refused",
        };
        let found = violations.iter().map(|violation| Found {
            rule: violation.rule.name(),
            first: violation.span.map(|span| span.first().to_string()),
            last: violation.span.map(|span| span.last().to_string()),
            sentence: violation.text.clone(),
        });
        let refusals = refusals.iter().map(|one| talk::printable(&one.to_string()));
        Self {
            schema: "ringfence.check/1",
            verdict,
            violations: found.collect(),
            refusals: refusals.collect(),
        }
    }
}
