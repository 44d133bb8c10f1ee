//! `explain`: a refusal code in a paragraph, an error number of the kernel's in its causes, or all of
//! them in a list.

use ringfence_refusal::{Code, Refusal};
use serde::Serialize;

use super::explain_errno;
use crate::catalogue;
use crate::cli::Explain;
use crate::exit::Exit;
use crate::{refusals, talk};

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    codes: Vec<Entry>,
    errors: Vec<explain_errno::Entry>,
}

#[derive(Serialize)]
struct Entry {
    code: String,
    name: &'static str,
    sentence: &'static str,
    remedy: &'static str,
    page: &'static str,
}

pub(crate) fn run(arguments: &Explain) -> anyhow::Result<Exit> {
    if let Some((name, errno)) = arguments.code.as_deref().and_then(explain_errno::find) {
        match arguments.json {
            true => show_json(&[], explain_errno::entries(Some(errno)))?,
            false => talk::data(&explain_errno::page(name, errno))?,
        }
        return Ok(Exit::Ok);
    }
    let codes = match &arguments.code {
        Some(text) => vec![find(text)?],
        None => catalogue::all(),
    };
    if arguments.json {
        let errors = match arguments.code {
            Some(_) => Vec::new(),
            None => explain_errno::entries(None),
        };
        show_json(&codes, errors)?;
    } else if arguments.code.is_some() {
        talk::data(&codes.into_iter().map(page).collect::<String>())?;
    } else {
        let lines = codes.into_iter().map(|code| format!("{code}  {}\n", code.name));
        talk::data(&format!("{}{}", lines.collect::<String>(), explain_errno::list()))?;
    }
    Ok(Exit::Ok)
}

fn show_json(codes: &[&'static Code], errors: Vec<explain_errno::Entry>) -> anyhow::Result<()> {
    let codes = codes.iter().map(entry).collect();
    talk::json(&Answer { schema: "ringfence.explain/1", codes, errors })
}

fn entry(code: &&'static Code) -> Entry {
    let Code { name, sentence, remedy, page, .. } = **code;
    Entry { code: code.to_string(), name, sentence, remedy, page }
}

fn page(code: &Code) -> String {
    let Code { name, sentence, remedy, page, .. } = code;
    format!(
        "{code} {name}\n\n{}\n\n{}\n\nWhat to do: {}\n",
        wrap(sentence),
        wrap(page),
        wrap(remedy)
    )
}

/// Breaks lines so that they are read comfortably.
pub(super) fn wrap(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 80 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// The code somebody typed: `RF0402`, `rf402` or `402`.
fn find(text: &str) -> Result<&'static Code, Refusal> {
    let upper = text.trim().to_ascii_uppercase();
    let digits = upper.strip_prefix("RF").unwrap_or(&upper);
    let number = digits.parse::<u16>().ok();
    let all = catalogue::all();
    if let Some(code) = all.iter().find(|code| Some(code.number) == number) {
        return Ok(code);
    }
    let shown = talk::printable(text);
    let detail = match number {
        Some(number) => {
            let mut near = all;
            near.sort_by_key(|code| code.number.abs_diff(number));
            let near: Vec<_> = near.iter().take(3).map(ToString::to_string).collect();
            format!("`{shown}`; near it are {}", near.join(", "))
        }
        None => format!(
            "`{shown}` is not written like one, as in RF0402, nor an error number of VFIO's, as in EPERM"
        ),
    };
    Err(Refusal::new(&refusals::UNKNOWN_CODE, detail))
}
