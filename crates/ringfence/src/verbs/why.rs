//! `why`: the reasons that put a function in its group, or two in one, and what would part them.

use anstyle::Style;
use ringfence_host::{Host, Model, Standing, Topology};
use serde::Serialize;

use crate::assessment::Assessment;
use crate::cli::Why;
use crate::exit::Exit;
use crate::host_source;
use crate::isolation::{self, kind, name};
use crate::talk::{self, Trouble};

const STRONG: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    model: String,
    /// What was asked about: one function or two.
    asked: Vec<String>,
    /// The group of the first; none if it is in none.
    group: Option<Group>,
    /// Whether the two are in one group; none where one was asked about.
    together: Option<bool>,
    reasons: Vec<isolation::Reason>,
    change: Option<Change>,
    /// Of each that was asked about.
    functions: Vec<Assessed>,
}

#[derive(Serialize)]
struct Assessed {
    address: String,
    #[serde(flatten)]
    assessment: Assessment,
}

#[derive(Serialize)]
struct Group {
    key: String,
    functions: Vec<String>,
}

#[derive(Serialize)]
struct Change {
    sentence: String,
    what_if: Option<String>,
    kernel_argument: Option<String>,
}

pub(crate) fn run(arguments: &Why) -> anyhow::Result<Exit> {
    let about = &arguments.about;
    let host = host_source::host(about.from.as_deref(), about.wake)?;
    let (host, model) = super::groups::changed(host, about)?;
    let why = ask(&host, model, arguments)?;
    if arguments.json {
        talk::json(&answer(&host, &why, model, arguments))?;
        return Ok(Exit::Ok);
    }
    for line in isolation::situation(&host).unwrap_or_default() {
        talk::say(line);
    }
    talk::data(&text(&host, &why, arguments))?;
    Ok(Exit::Ok)
}

fn ask(host: &Host, model: Model, arguments: &Why) -> anyhow::Result<ringfence_host::Why> {
    let (address, other) = (arguments.address, arguments.other);
    for address in [Some(address), other].into_iter().flatten() {
        if host.function(address).is_none() {
            let what = format!("there is no function {address}");
            let next = "see which there are with `ringfence groups`";
            return Err(Trouble::new(Exit::Usage, what, next).into());
        }
    }
    let why = match other {
        Some(other) => ringfence_host::why_both(host, model, address, other),
        None => ringfence_host::why(host, model, address),
    };
    why.ok_or_else(|| {
        let what = format!("{model} says nothing of {address}");
        Trouble::new(Exit::Environment, what, "ask another model with --model").into()
    })
}

/// What stands between each function that was asked about and a VM.
fn assessed(host: &Host, arguments: &Why) -> Vec<Assessed> {
    let topology = Topology::of(host);
    let asked = [Some(arguments.address), arguments.other].into_iter().flatten();
    let one = |address| {
        let assessment = Assessment::of(host, &topology, address)?;
        Some(Assessed { address: address.to_string(), assessment })
    };
    asked.filter_map(one).collect()
}

fn answer(host: &Host, why: &ringfence_host::Why, model: Model, arguments: &Why) -> Answer {
    let asked = [Some(arguments.address), arguments.other].into_iter().flatten();
    Answer {
        schema: "ringfence.why/1",
        model: model.to_string(),
        asked: asked.map(|address| address.to_string()).collect(),
        group: why.group.as_ref().map(|group| Group {
            key: group.key.to_string(),
            functions: group.functions.iter().map(ToString::to_string).collect(),
        }),
        together: why.together,
        reasons: why.chain.iter().map(isolation::Reason::from).collect(),
        change: why.change.as_ref().map(|change| Change {
            sentence: change.sentence.clone(),
            what_if: change.what_if.clone(),
            kernel_argument: change.kernel_argument.clone(),
        }),
        functions: assessed(host, arguments),
    }
}

/// For people: what holds, then step by step why, then what would change it.
fn text(host: &Host, why: &ringfence_host::Why, arguments: &Why) -> String {
    let title = |address| {
        let about = host.function(address).map(|one| format!(" ({}, {})", kind(one), name(one)));
        format!("{address}{}", about.unwrap_or_default())
    };
    let mut text = String::new();
    let first = title(arguments.address);
    let verdict = match (why.together, arguments.other, &why.group) {
        (Some(true), Some(other), _) => format!("{first}\nis together with {}", title(other)),
        (_, Some(other), _) => format!("{first}\nis apart from {}", title(other)),
        (_, None, None) => format!("{first}\nis in no group"),
        (_, None, Some(group)) if group.functions.len() == 1 => format!("{first}\nis alone"),
        (_, None, Some(group)) => {
            let others = group.functions.iter().filter(|one| **one != arguments.address);
            let others: Vec<String> = others.map(|one| format!("  {}", title(*one))).collect();
            format!("{first}\nis together with\n{}", others.join("\n"))
        }
    };
    text.push_str(&format!("{STRONG}{}{STRONG:#}\nby {}, because\n", verdict, why.model));
    for (number, reason) in why.chain.iter().enumerate() {
        let sentence = talk::printable(&reason.sentence);
        text.push_str(&format!("{:3}. {sentence}\n", number + 1));
        let standing = match reason.standing {
            Standing::Proven => "proven by registers",
            Standing::Asserted => "asserted, not proven",
            Standing::Unknown => "unknown: what would decide it was not read",
        };
        let mut evidence = format!("{}; {standing}", reason.rule.name());
        if let Some(register) = &reason.register {
            let value = talk::printable(&register.value);
            evidence.push_str(&format!("; {} = {value}", talk::printable(&register.name)));
        }
        text.push_str(&format!("     {QUIET}{evidence}{QUIET:#}\n"));
    }
    let are_several = why.group.as_ref().is_some_and(|group| group.functions.len() > 1);
    match &why.change {
        Some(change) => {
            text.push_str(&format!("{STRONG}To part them:{STRONG:#} {}\n", change.sentence));
            if let Some(argument) = &change.kernel_argument {
                text.push_str(&format!("  kernel argument: {argument}\n"));
            }
            if let Some(option) = &change.what_if {
                text.push_str(&format!("  to try it first: ringfence groups {option}\n"));
            }
        }
        None if why.together != Some(false) && are_several => {
            text.push_str("No single change is known that would part them.\n");
        }
        None => {}
    }
    for one in assessed(host, arguments) {
        text.push_str(&talk::printable_lines(&one.assessment.lines()));
    }
    text
}
