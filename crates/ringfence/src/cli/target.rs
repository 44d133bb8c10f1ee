//! `target` on the command line.

use clap::{Args, Subcommand};

use super::AtRoot;

#[derive(Debug, Subcommand)]
pub(crate) enum Target {
    /// Show every line: who may map whose memory, and what is mapped
    #[command(after_help = "\
Example:
  ringfence target list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: AtRoot,
    },
    /// Let a holder map a VM's memory
    #[command(after_help = "\
Neither has to be there yet. A line about the same memory of both is replaced.

Example:
  ringfence target add vm1 nic
  ringfence target add vm1 capture --rights read --memory 0x100000000-0x13fffffff --quota 64M")]
    Add(AddTarget),
    /// Let it no more
    #[command(after_help = "\
Refused while the holder has any of it mapped, unless --revoke takes that out: its device then meets a
fault where it goes on.

Example:
  ringfence target remove vm1 nic --revoke")]
    Remove {
        /// Whose memory: the VM's name
        owner: String,
        /// Who may map it no more
        holder: String,
        /// Take out what it has mapped
        #[arg(long)]
        revoke: bool,
        #[command(flatten)]
        at: AtRoot,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddTarget {
    /// Whose memory: the VM's name
    pub(crate) owner: String,
    /// Who may map it
    pub(crate) holder: String,
    /// Which of it, as guest-physical addresses; all there is, without
    #[arg(long, value_name = "SPAN")]
    pub(crate) memory: Option<String>,
    /// What its device may do with it
    #[arg(long, value_parser = ["read", "write", "read-write"], default_value = "read-write")]
    pub(crate) rights: String,
    /// How much it may have mapped at a time
    #[arg(long, value_name = "SIZE", value_parser = crate::size::parse)]
    pub(crate) quota: Option<u64>,
    #[command(flatten)]
    pub(crate) at: AtRoot,
}
