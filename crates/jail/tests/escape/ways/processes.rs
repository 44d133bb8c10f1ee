//! Other processes: their memory, their lives, and what `/proc` tells of them.

use std::fs;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;

use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, setpriority_process,
};
use rustix::thread::{sched_getaffinity, sched_setaffinity};

use super::{Way, expect, expect_secret};
use crate::sibling::{SECRET, Sibling};

fn pid(sibling: &Sibling) -> Option<Pid> {
    Pid::from_raw(sibling.pid)
}

fn file(sibling: &Sibling, name: &str) -> String {
    format!("/proc/{}/{name}", sibling.pid)
}

pub(super) const WAYS: &[Way] = &[
    ("trace a process", |sibling| {
        let pid = nix::unistd::Pid::from_raw(sibling.pid);
        ptrace::seize(pid, ptrace::Options::empty())?;
        Ok(ptrace::interrupt(pid)?)
    }),
    ("read a process's memory by call", |sibling| {
        let mut piece = [0; SECRET.len()];
        let there = [RemoteIoVec { base: sibling.address, len: piece.len() }];
        let pid = nix::unistd::Pid::from_raw(sibling.pid);
        process_vm_readv(pid, &mut [IoSliceMut::new(&mut piece)], &there)?;
        expect_secret(piece)
    }),
    ("read a process's memory by file", |sibling| {
        let mut piece = [0; SECRET.len()];
        let at = u64::try_from(sibling.address).unwrap_or_default();
        fs::File::open(file(sibling, "mem"))?.read_exact_at(&mut piece, at)?;
        expect_secret(piece)
    }),
    ("read a process's environment", |sibling| expect_secret(fs::read(file(sibling, "environ"))?)),
    ("read a process's memory map", |sibling| {
        expect(!fs::read(file(sibling, "maps"))?.is_empty(), "it is empty")
    }),
    ("read a process's command line", |sibling| {
        let line = fs::read_to_string(file(sibling, "cmdline"))?;
        expect(line.contains("be-the-sibling"), "it is another's")
    }),
    ("go through a process's root", |sibling| {
        let root = file(sibling, "root");
        expect_secret(fs::read(format!("{root}{}", sibling.secret().display()))?)
    }),
    ("see a process", |sibling| fs::metadata(file(sibling, "")).map(drop)),
    ("make a process the first to be killed", |sibling| {
        fs::write(file(sibling, "oom_score_adj"), "500")
    }),
    ("signal a process", |sibling| {
        Ok(kill_process(pid(sibling).ok_or(rustix::io::Errno::SRCH)?, Signal::WINCH)?)
    }),
    ("slow a process down", |sibling| Ok(setpriority_process(pid(sibling), 19)?)),
    ("limit a process", |sibling| {
        let Rlimit { maximum, .. } = getrlimit(Resource::Core);
        let new = Rlimit { current: Some(0), maximum };
        Ok(prlimit(pid(sibling), Resource::Core, new).map(drop)?)
    }),
    ("place a process", |sibling| {
        let set = sched_getaffinity(None)?;
        Ok(sched_setaffinity(pid(sibling), &set)?)
    }),
];
