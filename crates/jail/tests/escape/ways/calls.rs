//! The kernel itself: namespaces, rights, and the parts of it that have been ways in.

use std::fs;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use super::{Way, expect};

/// Makes a system call that has no safe wrapper. Perl, which Debian always has, makes any.
fn perl(call: i64, arguments: &str) -> std::io::Result<()> {
    let script = format!("exit(syscall({call}, {arguments}) == -1 ? 1 : 0)");
    let status = Command::new("/usr/bin/perl").args(["-e", &script]).status()?;
    expect(status.success(), "the kernel refuses")
}

/// What only root may do an ordinary user may do in a user namespace of their own.
fn with_rights() -> std::io::Result<()> {
    if geteuid().is_root() {
        return Ok(());
    }
    Ok(unshare(CloneFlags::CLONE_NEWUSER)?)
}

pub(super) const WAYS: &[Way] = &[
    ("make a user namespace", |_| Ok(unshare(CloneFlags::CLONE_NEWUSER)?)),
    ("enter a process's namespace", |sibling| {
        let namespace = fs::File::open(format!("/proc/{}/ns/uts", sibling.pid))?;
        Ok(setns(namespace, CloneFlags::CLONE_NEWUTS)?)
    }),
    ("mount a file system", |sibling| {
        with_rights()?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = rustix::mount::MountPropagationFlags::PRIVATE;
        rustix::mount::mount_change("/", private | rustix::mount::MountPropagationFlags::REC)?;
        Ok(mount("none", &sibling.own, "tmpfs", MountFlags::empty(), None)?)
    }),
    ("change its root", |sibling| {
        with_rights()?;
        Ok(nix::unistd::chroot(&sibling.own)?)
    }),
    ("name the host", |_| Ok(nix::unistd::sethostname(nix::unistd::gethostname()?)?)),
    ("become another user", |_| Ok(nix::unistd::setuid(nix::unistd::Uid::from_raw(65533))?)),
    ("raise a limit", |_| {
        let maximum = getrlimit(Resource::Memlock).maximum.map(|bytes| bytes.saturating_add(1));
        let maximum = maximum.or(Some(1 << 40));
        setrlimit(Resource::Memlock, Rlimit { current: Some(0), maximum })?;
        setrlimit(Resource::Memlock, Rlimit { current: Some(0), maximum: None })?;
        Ok(())
    }),
    ("become the owner of a program", |sibling| {
        let program = sibling.own.join("owned");
        let output = Command::new(&program).arg("-u").output()?;
        expect(output.stdout == b"65533\n", "it runs as who we are")
    }),
    ("load a program into the kernel", |_| {
        // A map of one entry: the least there is.
        perl(libc::SYS_bpf, "0, my $map = pack(\"LLLLL\", 2, 4, 8, 1, 0), 20")
    }),
    ("measure the machine", |_| {
        // A software clock of its own.
        let event = "my $event = pack(\"LLQx96\", 1, 112, 1)";
        perl(libc::SYS_perf_event_open, &format!("{event}, 0, -1, -1, 0"))
    }),
    ("handle page faults", |_| perl(libc::SYS_userfaultfd, "1")),
    ("use the kernel's keys", |_| perl(libc::SYS_keyctl, "0, -3, 1")),
    ("read the kernel's log by call", |_| perl(libc::SYS_syslog, "10, 0, 0")),
];
