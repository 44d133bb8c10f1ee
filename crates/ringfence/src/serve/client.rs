//! Asking the host service.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use ringfence_device::Root;
use ringfence_refusal::Refusal;

use super::protocol::{ANSWER_BYTES_MAX, Asked, Reply, Request, SCHEMA, code};
use crate::claims::ClaimState;
use crate::exit::Exit;
use crate::scrubbing::Told;
use crate::status::hear;
use crate::talk::Trouble;
use crate::targets::{Target, TargetState};

/// How long it may say nothing: a claim of many functions whose drivers take their time.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long it has to say how it is.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);

/// The host service of a host, which runs.
#[derive(Debug)]
pub(crate) struct Service {
    socket: PathBuf,
}

impl Service {
    /// That of the host at `root`, if one runs that we may talk to.
    pub(crate) fn find(root: &Root) -> anyhow::Result<Option<Self>> {
        let socket = super::socket(root);
        match UnixStream::connect(&socket) {
            Ok(_) => Ok(Some(Self { socket })),
            // One that is not for us to ask does not stand in for us either.
            Err(error)
                if [
                    ErrorKind::NotFound,
                    ErrorKind::NotADirectory,
                    ErrorKind::ConnectionRefused,
                    ErrorKind::PermissionDenied,
                ]
                .contains(&error.kind()) =>
            {
                Ok(None)
            }
            Err(error) => {
                Err(error).with_context(|| format!("cannot connect to {}", socket.display()))
            }
        }
    }

    /// Asks it, and waits for what it says of claims.
    pub(crate) fn ask(&self, request: &Request) -> anyhow::Result<Vec<ClaimState>> {
        match self.ask_anything(request)? {
            Reply::Done { claims } => Ok(claims),
            _ => Err(self.is_of_another_version()),
        }
    }

    /// Asks it for a scrub.
    pub(crate) fn ask_for_scrub(&self, request: &Request) -> anyhow::Result<Told> {
        match self.ask_anything(request)? {
            Reply::Scrubbed(told) => Ok(*told),
            _ => Err(self.is_of_another_version()),
        }
    }

    /// Asks it about target lists.
    pub(crate) fn ask_for_targets(&self, asked: Target) -> anyhow::Result<Vec<TargetState>> {
        match self.ask_anything(&Request::Target(asked))? {
            Reply::Targets { targets } => Ok(targets),
            _ => Err(self.is_of_another_version()),
        }
    }

    fn is_of_another_version(&self) -> anyhow::Error {
        let what = format!("the host service at {} answers something else", self.socket.display());
        let next = "restart the host service: it is of another version";
        Trouble::new(Exit::Unreachable, what, next).into()
    }

    /// What it says that is no refusal and no failure.
    fn ask_anything(&self, request: &Request) -> anyhow::Result<Reply> {
        let patience = match request {
            Request::Status => STATUS_PATIENCE,
            _ => PATIENCE,
        };
        let reply = self
            .exchange(request, Instant::now() + patience)
            .with_context(|| format!("the host service at {}", self.socket.display()))?;
        match reply {
            Reply::Refused { code: number, detail } => match code(number) {
                Some(code) => Err(Refusal::new(code, detail).into()),
                None => {
                    let what = format!("the host service says RF{number:04}: {detail}");
                    let next = "restart the host service: it is of another version";
                    Err(Trouble::new(Exit::No, what, next).into())
                }
            },
            Reply::Failed { what } => {
                let next = "see what the host service has said: journalctl -u ringfence-serve";
                Err(Trouble::new(Exit::Environment, what, next).into())
            }
            done => Ok(done),
        }
    }

    /// Asks it about one claim.
    pub(crate) fn ask_for_one(&self, request: &Request) -> anyhow::Result<ClaimState> {
        let claims = self.ask(request)?;
        claims.into_iter().next().ok_or_else(|| {
            let next = "see how it stands with `ringfence status`";
            Trouble::new(Exit::Environment, "the host service tells of no claim", next).into()
        })
    }

    fn exchange(&self, request: &Request, deadline: Instant) -> anyhow::Result<Reply> {
        let mut stream = UnixStream::connect(&self.socket)?;
        let asked = Asked { schema: SCHEMA.to_owned(), request: request.clone() };
        stream.set_write_timeout(Some(STATUS_PATIENCE))?;
        stream.write_all(&serde_json::to_vec(&asked)?)?;
        stream.shutdown(Shutdown::Write)?;
        let answer = hear(&mut stream, deadline, ANSWER_BYTES_MAX)?;
        serde_json::from_slice(&answer).map_err(|error| {
            let what = format!("its answer makes no sense: {error}");
            let next = "use one version of ringfence for the service and for what talks to it";
            Trouble::new(Exit::Unreachable, what, next).into()
        })
    }
}
