//! `check`: whether a plan holds, by code that did not make it, and whether a guest goes by it.

mod guest;

use anyhow::Context;
use ringfence_device::{Root, expect_bases, expect_span};
use ringfence_host::Stolen;
use ringfence_plan::check::{Violation, check, check_guest, check_guest_groups};
use ringfence_refusal::Refusal;
use serde::Serialize;

use self::guest::Guest;
use crate::claims::Claims;
use crate::exit::Exit;
use crate::placement::Asked;
use crate::scrubbing::{self, Extent};
use crate::talk;
use crate::{cli, host_source};

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
    let guest = arguments.guest.as_deref().map(Guest::read).transpose()?;
    let request = asked.request();
    let changed = if arguments.opened { opened(&asked)? } else { Vec::new() };
    let (violations, mut refusals) = match asked.plan() {
        Ok(plan) => {
            let mut violations = check(&asked.memories, &request, &plan);
            if let Some(guest) = &guest {
                violations.extend(check_guest(&plan, &guest.memory));
                violations.extend(check_guest_groups(&plan, &guest.groups));
            }
            (violations, Vec::new())
        }
        Err(refusals) => (Vec::new(), refusals),
    };
    refusals.extend(changed);
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
        let guest = if guest.is_some() { ", and the guest goes by it" } else { "" };
        let opened = if arguments.opened { ", and its devices say the same" } else { "" };
        talk::data(&format!("the plan holds{guest}{opened}\n"))?;
    }
    Ok(exit)
}

/// What of the VM's functions is not where the plan has it, by what they say once they are open.
fn opened(asked: &Asked) -> anyhow::Result<Vec<Refusal>> {
    let root = Root::default();
    let claims = Claims::of(&root)?;
    let functions: Vec<_> =
        asked.vm.functions.iter().map(|function| (function.address, function.stolen)).collect();
    let addresses: Vec<_> = functions.iter().map(|(address, _)| *address).collect();
    let graphics = scrubbing::of_host(&host_source::host_at(&root)?, &addresses);
    let mut changed = Vec::new();
    for (function, typed) in functions {
        // A plan for several hosts holds on any of them.
        let planned: Vec<Option<&Stolen>> = asked
            .memories
            .iter()
            .map(|memory| memory.stolen.get(&function).and_then(|fact| fact.known()))
            .collect();
        let bases = if graphics.contains(&function) {
            let told = claims.scrub(function, Extent::Look, &mut |_| ())?;
            Some(told.bases().context("what was opened says where its memory is in no numbers")?)
        } else {
            None
        };
        let outcomes = planned.iter().map(|one| match (one, typed) {
            (None, Some(typed)) => expect_span(function, typed, bases.as_ref()),
            _ => expect_bases(function, *one, bases.as_ref()),
        });
        let outcomes: Vec<_> = outcomes.collect();
        if outcomes.iter().all(Result::is_err) {
            changed.extend(outcomes.into_iter().filter_map(Result::err));
        }
    }
    Ok(changed)
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
