//! Times ours and the peer's in turn, in one run on one machine, and prints both and their ratio.
//!
//! Absolute numbers mean little on a shared machine; a ratio of interleaved rounds does. Progress
//! goes to stderr, the result to stdout.

mod addr;
mod backend;
mod batches;
mod by_hand;
mod case;
mod client;
mod disk;
mod folder;
mod groups;
mod invalidation;
mod ledger;
mod order;
mod plan;
mod report;
mod settings;
mod tables;
mod verify;
mod virtio;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::settings::Settings;

/// Measure Ringfence beside its peers.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything if nothing is named.
    names: Vec<Name>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Measure a quarter of the time.
    #[arg(long)]
    quick: bool,
    /// Rounds per case, of which the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Keep clients on one processor, and backend and fence on another.
    #[arg(long)]
    pin: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// A vhost-user disk, direct and fenced.
    Virtio,
    /// The span map, beside the same work by hand.
    Addr,
    /// Isolation groups with their reasons, beside `lspci`.
    Groups,
    /// Plans of guest memory, and what others' placing loses beside ours.
    Plan,
    /// Page tables of an IOMMU, beside another crate's and trees of ranges.
    Tables,
    /// The ledger, beside a tree that counts nothing, and what it promises.
    Ledger,
    /// Mappings taken from a device over real VFIO, beside a write of a register.
    Invalidation,
    /// Batches of mappings asked for across a socket, beside the same in one process.
    Batches,
}

fn main() -> ExitCode {
    ringfence_vmm::become_child_if_asked();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfence-bench: {error:#}");
            ExitCode::from(5)
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .context("cannot listen for signals")?;
    }
    let settings = Settings {
        rounds: arguments.rounds.into(),
        quick: arguments.quick,
        pin: arguments.pin,
        stop,
    };
    settings::note_load();
    let asked = |name| arguments.names.is_empty() || arguments.names.contains(&name);
    let mut rows = Vec::new();
    if asked(Name::Virtio) {
        rows.extend(virtio::run(&settings)?);
    }
    if asked(Name::Addr) {
        rows.extend(addr::run(&settings)?);
    }
    if asked(Name::Groups) {
        rows.extend(groups::run(&settings)?);
    }
    if asked(Name::Plan) {
        rows.extend(plan::run(&settings)?);
    }
    if asked(Name::Tables) {
        rows.extend(tables::run(&settings)?);
    }
    if asked(Name::Ledger) {
        rows.extend(ledger::run(&settings)?);
    }
    if asked(Name::Invalidation) {
        rows.extend(invalidation::run(&settings)?);
    }
    if asked(Name::Batches) {
        rows.extend(batches::run(&settings)?);
    }
    if arguments.json { report::print_json(&rows) } else { report::print_table(&rows) }
}
