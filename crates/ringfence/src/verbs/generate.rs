//! `completions` and `man`, made from the same description of the command line as the help.

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::nearest::nearest;
use crate::talk::{self, Trouble};

pub(crate) fn completions(shell: Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ringfence", &mut script);
    talk::data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

pub(crate) fn manual(verb: &[String]) -> anyhow::Result<Exit> {
    let mut command = Cli::command();
    command.build();
    let mut name = "ringfence".to_owned();
    for word in verb {
        command = subcommand(&command, &name, word)?;
        name = format!("{name}-{word}");
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    talk::data(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Ok)
}

fn subcommand(command: &Command, name: &str, word: &str) -> anyhow::Result<Command> {
    if let Some(found) = command.find_subcommand(word) {
        return Ok(found.clone());
    }
    let words: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
    let next = match nearest(word, words.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if words.is_empty() => format!("leave it out: {name} has no verbs of its own"),
        None => format!("choose one of {}", words.join(", ")),
    };
    Err(Trouble::new(Exit::Usage, format!("{name} has no verb `{word}`"), next).into())
}
