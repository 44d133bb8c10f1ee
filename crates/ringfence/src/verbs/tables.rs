//! `tables`: firmware's tables of IOMMUs, decoded, with what is odd about them.

mod answer;
mod source;
mod text;

use anyhow::Context;

use crate::cli::Tables;
use crate::exit::Exit;
use crate::talk::{self, Trouble};

pub(crate) fn run(arguments: &Tables) -> anyhow::Result<Exit> {
    let found = source::tables(arguments)?;
    if let Some(out) = &arguments.rewrite {
        let [one] = found.tables.as_slice() else {
            let what = format!("--rewrite writes one table, and {} were read", found.tables.len());
            return Err(Trouble::new(Exit::Usage, what, "name one file").into());
        };
        std::fs::write(out, one.table.write())
            .with_context(|| format!("cannot write {}", out.display()))?;
    }
    if arguments.json {
        talk::json(&answer::Answer::new(&found))?;
    } else {
        for line in &found.remarks {
            talk::say(talk::printable(line));
        }
        talk::data(&text::text(&found))?;
    }
    Ok(Exit::Ok)
}
