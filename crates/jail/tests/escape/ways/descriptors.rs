//! Descriptors of others, and what was left open by mistake.

use std::fs;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::{Way, expect_secret};

pub(super) const WAYS: &[Way] = &[
    ("use a descriptor left open", |sibling| {
        for entry in fs::read_dir("/proc/self/fd")? {
            let path = entry?.path();
            if fs::read_link(&path).is_ok_and(|target| target == sibling.secret()) {
                return expect_secret(fs::read(path)?);
            }
        }
        Err(std::io::ErrorKind::NotFound.into())
    }),
    ("open a process's descriptor", |sibling| {
        expect_secret(fs::read(format!("/proc/{}/fd/{}", sibling.pid, sibling.descriptor))?)
    }),
    ("take a process's descriptor", |sibling| {
        let pid = Pid::from_raw(sibling.pid).ok_or(rustix::io::Errno::SRCH)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let taken = pidfd_getfd(pidfd, sibling.descriptor, PidfdGetfdFlags::empty())?;
        let mut piece = [0; 64];
        let length = rustix::io::pread(&taken, &mut piece, 0)?;
        expect_secret(&piece[..length])
    }),
];
