//! The arguments of the verbs that take groups of functions, keep them and give them back.

use std::path::PathBuf;

use clap::Args;
use ringfence_addr::PciAddress;
use ringfence_device::{Root, Strength};
use ringfence_host::Model;

#[derive(Debug, Args)]
pub(crate) struct Claim {
    /// Functions whose whole groups are to be taken; the claims there are are listed without any
    #[arg(value_name = "ADDR", conflicts_with_all = ["recover", "persisted", "at_boot"])]
    pub(crate) functions: Vec<PciAddress>,
    /// Take what this model puts together, too, besides the kernel's own groups: strict, say
    #[arg(long, value_name = "MODEL", requires = "functions")]
    pub(crate) model: Option<Model>,
    /// Print what would be done and what speaks against it, and do nothing
    #[arg(long, requires = "functions")]
    pub(crate) dry_run: bool,
    /// Make the claim at every boot from now on, wherever bus numbers have gone
    #[arg(long, requires = "functions", conflicts_with = "dry_run")]
    pub(crate) persist: bool,
    /// Keep it open while `ringfence serve` runs, so that nobody else can; for a claim that stands, too
    #[arg(long, requires = "functions", conflicts_with = "watched")]
    pub(crate) held: bool,
    /// Leave it for a VMM to open by itself; `ringfence serve` only reports what comes in
    #[arg(long, requires = "functions")]
    pub(crate) watched: bool,
    /// Clear the memory that firmware took for them, if any; if that fails nothing is taken
    #[arg(long, requires = "functions", conflicts_with_all = ["dry_run", "persist"])]
    pub(crate) scrub: bool,
    /// Bring claims that were interrupted back to before
    #[arg(long, conflicts_with_all = ["persisted", "at_boot"])]
    pub(crate) recover: bool,
    /// Make every persisted claim, as at boot
    #[arg(long, conflicts_with = "at_boot")]
    pub(crate) persisted: bool,
    /// Keep the functions of persisted claims from other drivers; for the udev rule
    #[arg(long, hide = true)]
    pub(crate) at_boot: bool,
    /// Print JSON
    #[arg(long, conflicts_with_all = ["recover", "persisted", "at_boot"])]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) at: AtRoot,
}

impl Claim {
    /// How it is to be locked, if that was said.
    pub(crate) fn strength(&self) -> Option<Strength> {
        match (self.held, self.watched) {
            (true, _) => Some(Strength::Held),
            (_, true) => Some(Strength::Watched),
            _ => None,
        }
    }
}

/// Where the host begins.
#[derive(Debug, Args)]
pub(crate) struct AtRoot {
    /// Where the host's /sys, /proc, /dev and /run are, instead of at /
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
}

impl AtRoot {
    pub(crate) fn root(&self) -> Root {
        self.root.as_ref().map_or_else(Root::default, Root::new)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Print each event as a line of JSON on standard output, and say nothing
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) at: AtRoot,
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Any function of each claim to be given back
    #[arg(value_name = "ADDR", required = true)]
    pub(crate) functions: Vec<PciAddress>,
    /// First clear the memory that firmware took for them, if any; if that fails nothing is given back
    #[arg(long)]
    pub(crate) scrub: bool,
    /// Make the claim no more at boot, either
    #[arg(long)]
    pub(crate) persist: bool,
    #[command(flatten)]
    pub(crate) at: AtRoot,
}

#[derive(Debug, Args)]
pub(crate) struct Scrub {
    /// Claimed functions, each an integrated graphics device
    #[arg(value_name = "ADDR", required = true)]
    pub(crate) functions: Vec<PciAddress>,
    /// Print the steps, and clear nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write what firmware left there for drivers to files in this folder, for the VM's identity region
    #[arg(long, value_name = "DIR", conflicts_with = "dry_run")]
    pub(crate) copy_to: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) at: AtRoot,
}
