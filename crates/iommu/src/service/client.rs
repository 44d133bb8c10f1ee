//! The other end: an owner's and a holder's.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use ringfence_addr::{Gpa, Iova, Span, SpanSet};
use ringfence_ledger::{Owner, Which, Wish};
use ringfence_refusal::{Failure, Fault, Refusal};

use super::batch::{self, Answer};
use super::control::{Control, Happened, Reply, WireRights};
use super::packet::{self, Kind};
use crate::account::Mode;
use crate::refusals::NOT_A_MESSAGE;

/// A connection as an owner.
#[derive(Debug)]
pub struct OwnerClient(UnixStream);

/// A connection as a holder. What it has mapped is gone when it is dropped.
#[derive(Debug)]
pub struct HolderClient {
    stream: UnixStream,
    owner: Owner,
    usable: SpanSet<Iova>,
    out: Vec<u8>,
    body: Vec<u8>,
}

fn exchange(
    stream: &UnixStream,
    asked: &Control,
    descriptors: &[OwnedFd],
) -> Result<(Reply, Vec<OwnedFd>), Failure> {
    let text = serde_json::to_vec(asked).map_err(|error| broken(&error))?;
    packet::send(stream, Kind::Control, &text, descriptors)?;
    let mut body = Vec::new();
    let Some(packet) = packet::receive(stream, &mut body)? else {
        return Err(broken(&"the service has closed the connection"));
    };
    let reply = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
    Ok((reply, packet.descriptors))
}

fn broken(why: &dyn std::fmt::Display) -> Failure {
    let error = std::io::Error::other(why.to_string());
    Fault::new("hear from", "the service", error).into()
}

impl OwnerClient {
    /// Becomes the owner of this name.
    ///
    /// # Errors
    ///
    /// The service does not answer.
    pub fn new(stream: UnixStream, name: &str) -> Result<(Self, Reply), Failure> {
        let (reply, _) = exchange(&stream, &Control::Own { name: name.to_owned() }, &[])?;
        Ok((Self(stream), reply))
    }

    /// Asks for anything an owner can.
    ///
    /// # Errors
    ///
    /// The service does not answer. A refusal is an answer.
    pub fn ask(&self, asked: &Control) -> Result<Reply, Failure> {
        exchange(&self.0, asked, &[]).map(|(reply, _)| reply)
    }

    /// Gives memory.
    ///
    /// # Errors
    ///
    /// The service does not answer.
    pub fn give_memory(
        &self,
        memory: Span<Gpa>,
        file: OwnedFd,
        offset: u64,
    ) -> Result<Reply, Failure> {
        let asked = Control::Memory { memory: memory.into(), offset };
        exchange(&self.0, &asked, &[file]).map(|(reply, _)| reply)
    }

    /// Lets a holder map all of it.
    ///
    /// # Errors
    ///
    /// The service does not answer.
    pub fn allow(&self, holder: &str, rights: WireRights) -> Result<Reply, Failure> {
        let holder = holder.to_owned();
        self.ask(&Control::Allow { holder, memory: None, rights, quota_bytes: None })
    }

    /// What happened.
    ///
    /// # Errors
    ///
    /// The service does not answer.
    pub fn events(&self) -> Result<Vec<Happened>, Failure> {
        match self.ask(&Control::Events)? {
            Reply::Events { events } => Ok(events),
            other => Err(broken(&format!("{other:?}"))),
        }
    }
}

impl HolderClient {
    /// Becomes a holder of an owner's memory; the device's descriptors, where it has one.
    ///
    /// # Errors
    ///
    /// What the service says.
    pub fn new(
        stream: UnixStream,
        owner: &str,
        name: &str,
        device: Option<&str>,
    ) -> Result<(Self, Vec<OwnedFd>), Failure> {
        let (owner, name) = (owner.to_owned(), name.to_owned());
        let asked = Control::Hold { name, owner, device: device.map(str::to_owned) };
        let (reply, descriptors) = exchange(&stream, &asked, &[])?;
        match reply {
            Reply::Holding { owner, usable } => {
                let owner = Owner::from_number(owner);
                let usable = usable.into_iter().map(Span::from).collect();
                let (out, body) = (Vec::new(), Vec::new());
                Ok((Self { stream, owner, usable, out, body }, descriptors))
            }
            other => Err(broken(&format!("{other:?}"))),
        }
    }

    /// Whose memory, for wishes.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The bus addresses of the device.
    pub fn usable(&self) -> &SpanSet<Iova> {
        &self.usable
    }

    /// Maps a batch: an answer for each.
    ///
    /// # Errors
    ///
    /// The service does not answer, or refuses the batch as such.
    pub fn map(&mut self, wishes: &[Wish], mode: Mode) -> Result<Vec<Answer>, Failure> {
        self.out.clear();
        batch::write_wishes(mode, wishes, &mut self.out);
        self.ask(Kind::Map, wishes.len())
    }

    /// Unmaps a batch: an answer for each.
    ///
    /// # Errors
    ///
    /// The service does not answer, or refuses the batch as such.
    pub fn unmap(&mut self, which: &[Which]) -> Result<Vec<Answer>, Failure> {
        self.out.clear();
        batch::write_which(which, &mut self.out);
        self.ask(Kind::Unmap, which.len())
    }

    fn ask(&mut self, kind: Kind, count: usize) -> Result<Vec<Answer>, Failure> {
        packet::send(&self.stream, kind, &self.out, &[])?;
        if packet::receive(&self.stream, &mut self.body)?.is_none() {
            return Err(broken(&"the service has closed the connection"));
        }
        let answers = batch::read_answers(&self.body, count)?;
        if answers.len() != count {
            let why = answers.first().map(|answer| format!("{answer:?}")).unwrap_or_default();
            return Err(Refusal::new(&NOT_A_MESSAGE, why).into());
        }
        Ok(answers)
    }
}
