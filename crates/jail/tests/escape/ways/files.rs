//! Files outside what is granted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{Way, expect, expect_secret};

pub(super) const WAYS: &[Way] = &[
    ("read a file", |sibling| expect_secret(fs::read(sibling.secret())?)),
    ("list a folder", |sibling| fs::read_dir(&sibling.folder).map(drop)),
    ("see that a file is there", |sibling| fs::metadata(sibling.secret()).map(drop)),
    ("append to a file", |sibling| {
        fs::OpenOptions::new().append(true).open(sibling.folder.join("deletable")).map(drop)
    }),
    ("make a file", |sibling| fs::write(sibling.folder.join("made"), "")),
    ("delete a file", |sibling| fs::remove_file(sibling.folder.join("deletable"))),
    ("change a file's mode", |sibling| {
        fs::set_permissions(sibling.secret(), fs::Permissions::from_mode(0o644))
    }),
    ("link a file into its own folder", |sibling| {
        fs::hard_link(sibling.secret(), sibling.own.join("linked"))
    }),
    ("read a file through a link", |sibling| {
        let link = sibling.own.join("linked");
        std::os::unix::fs::symlink(sibling.secret(), &link)?;
        expect_secret(fs::read(link)?)
    }),
    ("execute a program it was not given", |sibling| {
        let status = Command::new(sibling.folder.join("program")).status()?;
        expect(status.success(), "it did not run")
    }),
    ("read the passwords", |_| fs::read("/etc/shadow").map(drop)),
    ("read the kernel's log", |_| fs::File::open("/dev/kmsg").map(drop)),
    ("set what the kernel is set to", |_| {
        let path = "/proc/sys/kernel/core_pattern";
        fs::write(path, fs::read(path)?)
    }),
    ("read shared memory of POSIX", |sibling| expect_secret(fs::read(&sibling.posix_memory)?)),
    ("read shared memory of System V", |sibling| {
        let id = sibling.shared_memory.clone().unwrap_or_default();
        let output = Command::new("ipcs").args(["-m", "-i", &id]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        expect(text.contains("bytes=4096"), "it is not there")
    }),
];
