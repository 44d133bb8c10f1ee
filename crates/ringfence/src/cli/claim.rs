//! The arguments of the verbs that take groups of functions and give them back.

use clap::Args;
use ringfence_addr::PciAddress;
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
    /// Bring claims that were interrupted back to before
    #[arg(long, conflicts_with_all = ["persisted", "at_boot"])]
    pub(crate) recover: bool,
    /// Make every persisted claim, as at boot
    #[arg(long, conflicts_with = "at_boot")]
    pub(crate) persisted: bool,
    /// Keep a function of a persisted claim from other drivers; for the udev rule
    #[arg(long, value_name = "ADDR", hide = true)]
    pub(crate) at_boot: Option<PciAddress>,
    /// Print JSON
    #[arg(long, conflicts_with_all = ["recover", "persisted", "at_boot"])]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Any function of each claim to be given back
    #[arg(value_name = "ADDR", required = true)]
    pub(crate) functions: Vec<PciAddress>,
    /// Make the claim no more at boot, either
    #[arg(long)]
    pub(crate) persist: bool,
}
