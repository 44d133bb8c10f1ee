//! The ways out, by what they try to reach. Each gives `Ok` only if it got there.

mod calls;
mod descriptors;
mod files;
mod processes;
mod sockets;

use std::io;
use std::process::ExitCode;

use ringfence_jail::refusals::PROTECTION_MISSING;
use ringfence_jail::{Profile, Protection, enter, verify};
use ringfence_refusal::Failure;

use crate::sibling::{SECRET, Sibling};

/// A way out and what it is called.
type Way = (&'static str, fn(&Sibling) -> io::Result<()>);

fn ways() -> impl Iterator<Item = Way> {
    [files::WAYS, sockets::WAYS, processes::WAYS, descriptors::WAYS, calls::WAYS]
        .into_iter()
        .flatten()
        .copied()
}

/// What they are called.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    ways().map(|(name, _)| name)
}

/// Tries one: exit code 0 if it got out, 1 if not.
pub(crate) fn attempt(way: &str, sibling: &str) -> ExitCode {
    if way == "verify" {
        return look_around();
    }
    if way == "nested" {
        return crate::jail::nested();
    }
    if way == "require" {
        return require_more();
    }
    let (_, way) = ways().find(|(name, _)| *name == way).expect("a way that is known");
    match way(&crate::decode(sibling)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything that can be seen from inside is in force.
fn look_around() -> ExitCode {
    let report = verify();
    let seen = [
        Protection::UserNamespace,
        Protection::ProcessNamespace,
        Protection::IpcNamespace,
        Protection::NameNamespace,
        Protection::FileRules,
        Protection::SystemCalls,
        Protection::NoNewPrivileges,
        Protection::Capabilities,
    ];
    if seen.into_iter().all(|protection| report.holds(protection)) {
        ExitCode::SUCCESS
    } else {
        eprintln!("{report}");
        ExitCode::FAILURE
    }
}

/// Whether a box that cannot be had is refused for that.
fn require_more() -> ExitCode {
    match enter(&Profile::for_fence([]).require_all()) {
        Err(Failure::Refused(refusal)) if refusal.code() == &PROTECTION_MISSING => {
            ExitCode::SUCCESS
        }
        other => {
            eprintln!("{other:?}");
            ExitCode::FAILURE
        }
    }
}

/// That what was got is the secret.
fn expect_secret(got: impl AsRef<[u8]>) -> io::Result<()> {
    let is_there = got.as_ref().windows(SECRET.len()).any(|piece| piece == SECRET.as_bytes());
    expect(is_there, "what was got is not the secret")
}

fn expect(condition: bool, otherwise: &str) -> io::Result<()> {
    if condition { Ok(()) } else { Err(io::Error::other(otherwise.to_owned())) }
}
