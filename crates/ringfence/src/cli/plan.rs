//! The arguments of `plan`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

/// What can follow `--for`.
pub(crate) const FORMS: [&str; 10] =
    ["qemu", "libvirt", "cloud-hypervisor", "xl", "e820", "acpi", "dtb", "cmdline", "svg", "json"];

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The VM's configuration, a TOML file
    pub(crate) vm: PathBuf,
    /// Another host than this one: a snapshot, or a directory shaped like `/`; several for a VM that
    /// may run on any of them
    #[arg(long, value_name = "PATH")]
    pub(crate) from: Vec<PathBuf>,
    /// In whose words: what to tell that consumer
    #[arg(long = "for", value_name = "CONSUMER", value_parser = PossibleValuesParser::new(FORMS))]
    pub(crate) consumer: Option<String>,
    /// Print JSON, as --for json
    #[arg(long, conflicts_with = "consumer")]
    pub(crate) json: bool,
    /// The folder to write files to that the consumer needs
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Tell what differs from the plan on that host (a snapshot or a directory), or of that VM
    /// (another TOML file)
    #[arg(long, value_name = "PATH", conflicts_with_all = ["consumer", "json"])]
    pub(crate) diff: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The VM's configuration, a TOML file
    pub(crate) vm: PathBuf,
    /// Another host than this one: a snapshot, or a directory shaped like `/`; several for a VM that
    /// may run on any of them
    #[arg(long, value_name = "PATH")]
    pub(crate) from: Vec<PathBuf>,
    /// Compare a running guest with its plan, too, memory and what its IOMMU keeps: a directory shaped
    /// like the guest's `/`, which is `/` itself inside of it
    #[arg(long, value_name = "PATH")]
    pub(crate) guest: Option<PathBuf>,
    /// Open the VM's graphics functions on this host, which are claimed, and compare where their
    /// registers say that their memory is with what the plan was made for
    #[arg(long)]
    pub(crate) opened: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
