//! The command line, as clap reads it and as help, manual pages and completions show it.

mod claim;
mod doctor;
mod host;
mod plan;
mod tables;
mod target;

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use claim::{AtRoot, Claim, Release, Scrub, Serve};
pub(crate) use doctor::Doctor;
pub(crate) use host::{About, Groups, Snapshot, Why};
pub(crate) use plan::{Check, Plan};
pub(crate) use tables::Tables;
pub(crate) use target::{AddTarget, Target};

/// Keeps every device of a virtual machine inside the memory that machine was given.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, color = ColorChoice::Auto, after_help = "\
Data goes to standard output, everything said to people to standard error.

Exit codes: 0 done, 1 checked and the answer is no, 2 wrong usage or configuration, 3 a peer could
not be reached, 4 not permitted, 5 the environment failed, 70 a bug in ringfence.

Example:
  ringfence run examples/quickstart/vm.toml")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a VM with its devices fenced
    #[command(after_help = "\
The guest's serial console goes to standard output, and after it a report of who could see what.
With --json the report is all that goes there, and the console goes to standard error. Ctrl-C ends
the VM and everything that was started for it. Ends with 1 if a fence refused anything, with 5 if
the VMM, a fence or a backend died.

Example:
  ringfence run examples/quickstart/vm.toml")]
    Run(Run),
    /// Put up one fence by itself, for a VMM started in some other way
    #[command(
        subcommand_required = true,
        after_help = "\
Example:
  ringfence fence vhost-user --listen disk.sock --backend real-disk.sock --window 16M"
    )]
    Fence {
        #[command(subcommand)]
        kind: Fence,
    },
    /// Show every fence that is up and every claim: who sees what, how it is locked, counters, refusals
    #[command(after_help = "\
Example:
  ringfence status --json")]
    Status(Status),
    /// Show the isolation groups of a host: what cannot be separated, and why
    #[command(after_help = "\
Needs no root, and says what it could not read without. Where the kernel uses no IOMMU it says so, and
shows the groups that the registers would give. With --diff it ends with 1 if anything differs.

Example:
  ringfence groups --svg groups.svg
  ringfence groups --from rack7.snapshot --model strict
  ringfence groups --set 0000:00:1c.0:acs=on")]
    Groups(Groups),
    /// Tell why a function is in its group, or two are together, and what would part them
    #[command(after_help = "\
Example:
  ringfence why 0000:01:00.0 0000:01:00.1")]
    Why(Why),
    /// Write down everything `--from` needs, serial numbers left out
    #[command(after_help = "\
Run it as root: others are not shown the registers that isolation turns on, and the snapshot then says
that they are unknown.

Example:
  ringfence snapshot this-host.snapshot")]
    Snapshot(Snapshot),
    /// Take whole isolation groups for VMs, all or nothing, or list what is taken
    #[command(after_help = "\
Each function named brings its whole group: bound to vfio-pci, bridges left to their port driver. It is
written down before it is done, undone if any of it fails, and refused if the host itself needs one of
the functions: a disk in use, the default route, the console.

While `ringfence serve` runs, it holds the groups: nobody else can open them. A VMM that is to open a
group by itself (QEMU's vfio-pci) needs --watched, which also takes a claim that stands.

With --persist the claim is made again at every boot, found by where the functions are plugged in and
what they are. Written are /etc/ringfence/claims/*.json, /etc/udev/rules.d/10-ringfence.rules,
/etc/modules-load.d/ringfence.conf, /etc/initramfs-tools/hooks/ringfence and
/etc/systemd/system/ringfence-claims.service.

Example:
  ringfence claim 0000:01:00.0 --dry-run
  ringfence claim 0000:01:00.0 --persist
  ringfence claim --recover")]
    Claim(Claim),
    /// Give claimed groups back to the drivers they had before
    #[command(after_help = "\
Example:
  ringfence release 0000:01:00.0")]
    Release(Release),
    /// Clear the memory that firmware took for an integrated graphics device
    #[command(after_help = "\
What a VM left in that memory the next one can read: no reset clears it. It is cleared through the
device's own page table, as its driver would; what firmware keeps there stays. Each page is marked, found
through another entry and read back, so that what cannot be reached is never called clear. The function
has to be claimed; it is reset when it is opened for this and once more after. `claim --scrub` and
`release --scrub` do it where it belongs. Not tried on silicon yet: try it with nothing to lose.

Example:
  ringfence scrub 0000:00:02.0 --dry-run
  ringfence release 0000:00:02.0 --scrub")]
    Scrub(Scrub),
    /// Keep claims locked: hold their groups open, and report what comes in all the same
    #[command(after_help = "\
Runs in the foreground until it is asked to stop (Ctrl-C, SIGTERM); the claims stay. Claims that were
interrupted are undone first. While it runs, `claim` and `release` are done by it, and it takes in
claims made in other ways. A group is

  held     it is kept open: the kernel turns down other drivers, and whoever else opens it is told
           EBUSY, a VMM that is given the function to open by itself included
  watched  overrides keep other drivers away, and a function that is plugged in, bound by somebody
           else or pulled out is reported at once

Claims are held unless they were made with `claim --watched`; that, and `claim --held`, change one that
stands. Root and its own user may ask it. It needs the host's own mounts and network namespaces, which
say what the host uses and bring the kernel's news.

Example:
  ringfence serve
  systemctl enable --now ringfence-serve")]
    Serve(Serve),
    /// Say which holder may map which VM's memory
    #[command(
        subcommand_required = true,
        after_help = "\
Nobody may, unless he is listed. `ringfence serve` has the lists; holders are the devices and backends that
join it.

Example:
  ringfence target add vm1 nic --quota 512M
  ringfence target list"
    )]
    Target {
        #[command(subcommand)]
        asked: Target,
    },
    /// Decode firmware's tables of IOMMUs: what they reserve, for whom, and what is odd about them
    #[command(after_help = "\
Reads DMAR, IVRS, IORT and VIOT from files, from another host with --from, or from this one, for which
root is needed. What is odd is told with what Linux and Xen make of it. --rewrite writes the table as
it was read, byte for byte, from what was understood of it.

Example:
  ringfence tables dmar.bin ivrs.bin
  ringfence tables --from rack7.snapshot --json")]
    Tables(Tables),
    /// Plan where a VM's memory may lie, and tell its VMM
    #[command(after_help = "\
Reads what firmware and the host set apart (as root, or from a snapshot made by root) and finds a memory
map for the VM's `pci` devices, with a reason for every span. --for tells it to a VMM or draws it. Ends
with 1 if the VM is refused, or if --diff finds a difference.

Example:
  ringfence plan vm.toml
  ringfence plan vm.toml --from rack7.snapshot --for qemu --out planned
  ringfence plan vm.toml --for svg > map.svg")]
    Plan(Plan),
    /// Tell what will refuse or silently corrupt a VM on a host, and what to do about it
    #[command(after_help = "\
Read-only, and works without root: what it could not read it says. Without a VM it looks at the host: its
IOMMU, what firmware reserved for devices, what weakens isolation. With one it looks at the VM's devices
and at where its VMM puts memory when nobody plans. Ends with 1 if anything fails.

Example:
  ringfence doctor
  ringfence doctor vm.toml --from rack7.snapshot
  virsh dumpxml guest > guest.xml && ringfence doctor guest.xml
  ringfence doctor /etc/pve/qemu-server/100.conf
  ringfence doctor --pid $(pidof qemu-system-x86_64)")]
    Doctor(Doctor),
    /// Check a plan with code of its own, and a running guest against it
    #[command(after_help = "\
Plans, then proves the plan by other means than it was made: nothing overlaps, no memory is lost, nothing
lies where it must not, and the VMM's own rules come out at this map. With --guest it reads what the
guest's kernel uses as memory (as root, inside of it or from a copy). With --opened it asks the VM's
graphics functions once more where their memory is: what firmware chose may have changed since a snapshot.
Ends with 1 if anything is wrong.

Example:
  ringfence check vm.toml --from rack7.snapshot
  ringfence check vm.toml --from rack7.snapshot --guest /")]
    Check(Check),
    /// Explain a refusal code, or an error number of VFIO's, or list them all
    #[command(after_help = "\
Example:
  ringfence explain RF0402
  ringfence explain EBUSY")]
    Explain(Explain),
    /// Print a completion script for a shell
    #[command(after_help = "\
Example:
  ringfence completions bash > ~/.local/share/bash-completion/completions/ringfence")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print a manual page
    #[command(after_help = "\
Example:
  ringfence man run | man -l -")]
    Man {
        /// The verb it is about, in words; the whole program if left out
        verb: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The VM's configuration, a TOML file
    pub(crate) vm: PathBuf,
    /// Print the final report as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the commands that would be started, one per line, and start nothing
    #[arg(long, conflicts_with = "json")]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Fence {
    /// Stand between a VMM and a vhost-user backend
    #[command(after_help = "\
Runs until it is asked to stop (Ctrl-C, SIGTERM) and serves one VMM after another. Ends with 1 if it
refused anything.

Example:
  ringfence fence vhost-user --listen disk.sock --backend real-disk.sock --window 16M

Then add two lines to the QEMU command:
  -object memory-backend-memfd,id=ram,size=512M,share=on -machine memory-backend=ram
  -chardev socket,id=disk,path=disk.sock -device vhost-user-blk-pci,chardev=disk,disable-legacy=on")]
    VhostUser(FenceVhostUser),
}

#[derive(Debug, Args)]
pub(crate) struct FenceVhostUser {
    /// Where the VMM is to connect: a Unix socket to be made
    #[arg(long, value_name = "SOCK")]
    pub(crate) listen: PathBuf,
    /// Where the real backend listens: a Unix socket
    #[arg(long, value_name = "SOCK")]
    pub(crate) backend: PathBuf,
    /// How much memory the backend can see in all
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = crate::size::parse)]
    pub(crate) window: u64,
    /// How many requests each queue may have a second, with bursts of a second's worth
    #[arg(long, value_name = "N")]
    pub(crate) requests_per_second: Option<NonZeroU64>,
    /// How many bytes each queue may move a second, with bursts of a second's worth
    #[arg(long, value_name = "SIZE", value_parser = some_bytes)]
    pub(crate) bytes_per_second: Option<NonZeroU64>,
    /// Refuse guest memory whose file could be shrunk while it is in use
    #[arg(long)]
    pub(crate) require_sealed_memory: bool,
    /// What to call it in `status` and in messages
    #[arg(long, default_value = "fence", value_parser = plain_name)]
    pub(crate) name: String,
    /// Whether the fence jails itself once it has its sockets
    #[arg(long, value_enum, default_value_t = Jail::On)]
    pub(crate) jail: Jail,
    /// Where to serve its status, instead of the runtime folder
    #[arg(long, value_name = "SOCK", hide = true)]
    pub(crate) status: Option<PathBuf>,
    /// Say nothing but errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Whether a fence jails itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Jail {
    /// As far as the host allows
    On,
    /// As a whole, or it does not begin
    Require,
    /// Somebody else did: it begins only if it finds itself jailed
    Verify,
    /// Not at all
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) at: AtRoot,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The code, as in RF0402, or what the kernel answered, as in EBUSY; all of them if left out
    pub(crate) code: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A size that is not zero.
fn some_bytes(text: &str) -> Result<NonZeroU64, String> {
    let bytes = crate::size::parse(text)?;
    NonZeroU64::new(bytes).ok_or_else(|| "a queue that may move nothing is of no use".to_owned())
}

/// A name that can be part of a path.
fn plain_name(text: &str) -> Result<String, String> {
    if crate::config::is_plain_name(text) {
        Ok(text.to_owned())
    } else {
        Err("a name is 1 to 24 letters, digits, `-` and `_`, the first a letter or digit"
            .to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_finds_nothing_wrong() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_an_example() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example:\n  ringfence "), "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
