//! The arguments of `tables`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Tables {
    /// Tables, as in /sys/firmware/acpi/tables; those of the host if left out
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Another host than this one: a snapshot, or a directory shaped like `/`; with files, the host
    /// whose functions they are about
    #[arg(long, value_name = "PATH")]
    pub(crate) from: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the table as it was read, byte for byte; of several, name one file
    #[arg(long, value_name = "OUT")]
    pub(crate) rewrite: Option<PathBuf>,
}
