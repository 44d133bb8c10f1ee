//! The arguments of `doctor`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// A VM: its TOML file, a libvirt domain (XML), or a Proxmox VM configuration; the host by itself if
    /// left out
    pub(crate) vm: Option<PathBuf>,
    /// Another host than this one: a snapshot, or a directory shaped like `/`
    #[arg(long, value_name = "PATH")]
    pub(crate) from: Option<PathBuf>,
    /// The VM that a running QEMU has, by its process id
    #[arg(long, value_name = "N", conflicts_with = "vm")]
    pub(crate) pid: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
