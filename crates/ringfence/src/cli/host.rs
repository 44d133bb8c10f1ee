//! The arguments of the verbs about a host: `groups`, `why`, `snapshot`.

use std::path::PathBuf;

use clap::Args;
use ringfence_addr::PciAddress;
use ringfence_host::{Model, WhatIf};

/// Which host, and by which rules.
#[derive(Debug, Args)]
pub(crate) struct About {
    /// Another host than this one: a snapshot, a directory shaped like `/`, or what lspci printed
    #[arg(long, value_name = "PATH")]
    pub(crate) from: Option<PathBuf>,
    /// Whose rules: linux-6.12, linux-7.3, linux-2025-v3, strict, bridge, observed; that of the
    /// host's kernel if left out
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<Model>,
    /// Read the registers of sleeping functions too, which wakes them
    #[arg(long, conflicts_with = "from")]
    pub(crate) wake: bool,
    /// What if a port's ACS were so: ADDR:acs=on, off, or bits as the kernel's config_acs has them
    #[arg(long, value_name = "ADDR:acs=…", value_parser = parse_set)]
    pub(crate) set: Vec<WhatIf>,
    /// What if a device were in the slot below that bridge
    #[arg(long = "move", value_name = "ADDR:BRIDGE", value_parser = parse_move)]
    pub(crate) moved: Vec<WhatIf>,
}

impl About {
    /// The changes to ask about, in the order of their kinds.
    pub(crate) fn changes(&self) -> Vec<WhatIf> {
        self.set.iter().chain(&self.moved).cloned().collect()
    }
}

fn parse_set(text: &str) -> Result<WhatIf, String> {
    WhatIf::parse_set(text).map_err(|error| error.to_string())
}

fn parse_move(text: &str) -> Result<WhatIf, String> {
    WhatIf::parse_move(text).map_err(|error| error.to_string())
}

#[derive(Debug, Args)]
pub(crate) struct Groups {
    #[command(flatten)]
    pub(crate) about: About,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a picture of the tree and its groups, and print nothing
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) svg: Option<PathBuf>,
    /// Tell what differs between two hosts, or one host twice
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["from", "svg"])]
    pub(crate) diff: Option<Vec<PathBuf>>,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The function
    pub(crate) address: PciAddress,
    /// Another one: why the two are together, or apart
    pub(crate) other: Option<PciAddress>,
    #[command(flatten)]
    pub(crate) about: About,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Snapshot {
    /// The file to write, which must not exist; `-` for standard output
    pub(crate) file: PathBuf,
    /// Another host than this one: a directory shaped like `/`
    #[arg(long, value_name = "PATH")]
    pub(crate) from: Option<PathBuf>,
    /// Read the registers of sleeping functions too, which wakes them
    #[arg(long, conflicts_with = "from")]
    pub(crate) wake: bool,
}
