//! `ringfence`: keeps every device of a virtual machine inside the memory that machine was given.
//!
//! Wiring only: what a verb does is in its module, what decides is in the crates below.

mod assessment;
mod catalogue;
mod claims;
mod cli;
mod config;
mod described;
mod doctor;
mod exit;
mod fence;
mod host_source;
mod isolation;
mod nearest;
mod picture;
mod placement;
mod refusals;
mod run;
mod runtime;
mod scrubbing;
mod serve;
mod signals;
mod size;
mod socket;
mod status;
mod sweeper;
mod talk;
mod targets;
mod teller;
mod verbs;
mod verdict;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::{Cli, Fence, Verb};
use crate::exit::Exit;

pub(crate) use ringfence_vmm::refusals as vmm_refusals;

fn main() -> ExitCode {
    ringfence_vmm::become_child_if_asked();
    ringfence_device::become_writer_if_asked();
    sweeper::become_if_asked();
    say_it_is_our_bug_when_we_panic();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain_usage(&error).into(),
    };
    let outcome = match cli.verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Fence { kind: Fence::VhostUser(arguments) } => verbs::fence::run(&arguments),
        Verb::Status(arguments) => verbs::status::run(&arguments),
        Verb::Groups(arguments) => verbs::groups::run(&arguments),
        Verb::Why(arguments) => verbs::why::run(&arguments),
        Verb::Snapshot(arguments) => verbs::snapshot::run(&arguments),
        Verb::Claim(arguments) => verbs::claim::run(&arguments),
        Verb::Release(arguments) => verbs::claim::release(&arguments),
        Verb::Scrub(arguments) => verbs::scrub::run(&arguments),
        Verb::Serve(arguments) => serve::run(&arguments),
        Verb::Target { asked } => verbs::target::run(asked),
        Verb::Tables(arguments) => verbs::tables::run(&arguments),
        Verb::Plan(arguments) => verbs::plan::run(&arguments),
        Verb::Doctor(arguments) => verbs::doctor::run(&arguments),
        Verb::Check(arguments) => verbs::check::run(&arguments),
        Verb::Explain(arguments) => verbs::explain::run(&arguments),
        Verb::Completions { shell } => verbs::generate::completions(shell),
        Verb::Man { verb } => verbs::generate::manual(&verb),
    };
    outcome
        .unwrap_or_else(|error| {
            talk::complain(&error);
            exit::of(&error)
        })
        .into()
}

/// Help and version are data and no error; everything else clap says is about usage.
fn explain_usage(error: &clap::Error) -> Exit {
    // Whoever closed the pipe has read enough.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
        _ => Exit::Usage,
    }
}

/// A panic ends the program at once, with the exit code for it. Children end with their parent.
fn say_it_is_our_bug_when_we_panic() {
    std::panic::set_hook(Box::new(|panic| {
        talk::say(format_args!(
            "ringfence {}: a bug in ringfence: {panic}\n  next: report this line with the command \
             that led to it",
            env!("CARGO_PKG_VERSION")
        ));
        std::process::exit(i32::from(Exit::Bug as u8));
    }));
}
