//! What the program's exit code says, decided in one place.

use std::io::ErrorKind;

use ringfence_refusal::{Failure, Fault, Refusal};

use crate::config::Problems;
use crate::talk::{OutputClosed, Trouble};
use crate::{refusals, vmm_refusals};

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Checked, and the answer is no.
    No = 1,
    /// The command or the configuration is wrong.
    Usage = 2,
    /// A daemon or peer could not be reached.
    Unreachable = 3,
    /// Not permitted.
    NotPermitted = 4,
    /// The environment failed.
    Environment = 5,
    /// A bug of ours.
    Bug = 70,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The exit code an error asks for: that of the first in its chain that has an opinion.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if cause.is::<OutputClosed>() {
            // Whoever read our output has read enough.
            return Exit::Ok;
        } else if let Some(trouble) = cause.downcast_ref::<Trouble>() {
            return trouble.exit;
        } else if cause.is::<Problems>() {
            return Exit::Usage;
        } else if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return of_refusal(refusal);
        } else if let Some(Failure::Refused(refusal)) = cause.downcast_ref::<Failure>() {
            return of_refusal(refusal);
        } else if let Some(Failure::Faulted(fault)) = cause.downcast_ref::<Failure>() {
            return of_system(fault.io_error());
        } else if let Some(fault) = cause.downcast_ref::<Fault>() {
            return of_system(fault.io_error());
        } else if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return of_system(error);
        }
    }
    Exit::Environment
}

fn of_refusal(refusal: &Refusal) -> Exit {
    let code = refusal.code();
    if [&refusals::FOLDER_NOT_OURS, &refusals::NOT_FOR_YOU].contains(&code) {
        Exit::NotPermitted
    } else if code == &vmm_refusals::PROGRAM_NOT_FOUND {
        Exit::Environment
    } else if [ringfence_host::refusals::CATALOGUE, ringfence_tables::refusals::CATALOGUE]
        .iter()
        .any(|catalogue| catalogue.contains(&code))
    {
        // What was given as a host or a table is none.
        Exit::Usage
    } else if [
        &refusals::UNKNOWN_CODE,
        &refusals::PATH_TOO_LONG,
        &refusals::KIND_NOT_YET,
        &refusals::NOT_A_VM,
    ]
    .contains(&code)
    {
        Exit::Usage
    } else {
        Exit::No
    }
}

fn of_system(error: &std::io::Error) -> Exit {
    match error.kind() {
        ErrorKind::PermissionDenied => Exit::NotPermitted,
        ErrorKind::ConnectionRefused | ErrorKind::TimedOut => Exit::Unreachable,
        _ => Exit::Environment,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn refused(code: &'static ringfence_refusal::Code) -> anyhow::Error {
        Refusal::new(code, "").into()
    }

    fn faulted(kind: ErrorKind) -> anyhow::Error {
        Failure::from(Fault::new("open", "it", kind)).into()
    }

    #[test]
    fn every_error_has_its_exit_code() {
        let trouble = Trouble::new(Exit::Unreachable, "gone", "start it");
        for (error, exit) in [
            (refused(&refusals::ALREADY_RUNS), Exit::No),
            (refused(&refusals::UNKNOWN_CODE), Exit::Usage),
            (refused(&refusals::FOLDER_NOT_OURS), Exit::NotPermitted),
            (refused(&vmm_refusals::PROGRAM_NOT_FOUND), Exit::Environment),
            (faulted(ErrorKind::PermissionDenied), Exit::NotPermitted),
            (faulted(ErrorKind::ConnectionRefused), Exit::Unreachable),
            (faulted(ErrorKind::Other), Exit::Environment),
            (trouble.into(), Exit::Unreachable),
            (OutputClosed.into(), Exit::Ok),
            (anyhow::anyhow!("something else"), Exit::Environment),
        ] {
            assert_eq!(of(&error), exit, "{error}");
        }
    }

    #[test]
    fn context_does_not_change_the_exit_code() {
        let outcome: Result<(), _> = Err(Refusal::new(&refusals::ALREADY_RUNS, ""));
        let error = outcome.context("while starting").expect_err("it is an error");
        assert_eq!(of(&error), Exit::No);
    }

    #[test]
    fn the_numbers_are_those_promised() {
        let all = [
            Exit::Ok,
            Exit::No,
            Exit::Usage,
            Exit::Unreachable,
            Exit::NotPermitted,
            Exit::Environment,
            Exit::Bug,
        ];
        assert_eq!(all.map(|exit| exit as u8), [0, 1, 2, 3, 4, 5, 70]);
    }
}
