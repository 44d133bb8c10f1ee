//! Whole messages over a stream, bounded in length, with the descriptors that belong to them.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::refusals::NOT_A_MESSAGE;

/// Longer than the longest batch, and the longest answer.
const BYTES_MAX: usize = 1 << 20;
/// More come with no message.
const DESCRIPTORS_MAX: usize = 8;
const HEAD_BYTES: usize = 8;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Control,
    Map,
    Unmap,
}

/// A message, without its body.
pub(super) struct Packet {
    pub(super) kind: Kind,
    pub(super) descriptors: Vec<OwnedFd>,
}

const KINDS: [Kind; 3] = [Kind::Control, Kind::Map, Kind::Unmap];

/// Waits for a message; `None` when there will be none.
///
/// # Errors
///
/// `RF0918` for what is none: the connection is of no use after that. The socket failed.
pub(super) fn receive(stream: &UnixStream, body: &mut Vec<u8>) -> Result<Option<Packet>, Failure> {
    let mut head = [0; HEAD_BYTES];
    let mut descriptors = Vec::new();
    let mut have = 0;
    while have < HEAD_BYTES {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut head[have..])];
        let received = match recvmsg(stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => received,
            Err(Errno::INTR) => continue,
            Err(Errno::CONNRESET) => return Ok(None),
            Err(errno) => return Err(Fault::new("read from", "a connection", errno).into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return if have == 0 { Ok(None) } else { Err(refuse("a head that is cut short")) };
        }
        have += received.bytes;
    }
    let [a, b, c, d, e, f, g, h] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let kind = KINDS.get(u32::from_le_bytes([e, f, g, h]) as usize);
    let (Some(kind), true) = (kind, length <= BYTES_MAX && descriptors.len() <= DESCRIPTORS_MAX)
    else {
        return Err(refuse(&format!("{length} bytes, at most {BYTES_MAX}, of kind {kind:?}")));
    };
    body.resize(length, 0);
    let mut reader = stream;
    reader.read_exact(body).map_err(|error| Fault::new("read from", "a connection", error))?;
    Ok(Some(Packet { kind: *kind, descriptors }))
}

/// Sends a message.
///
/// # Errors
///
/// The other end is gone.
pub(super) fn send(
    stream: &UnixStream,
    kind: Kind,
    body: &[u8],
    descriptors: &[OwnedFd],
) -> Result<(), Failure> {
    let fault = |error: std::io::Error| Fault::new("send to", "a connection", error);
    let length = u32::try_from(body.len()).map_err(|_| refuse("a message of 4 GiB"))?;
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_le_bytes());
    let number = KINDS.iter().position(|one| *one == kind).unwrap_or(0);
    head[4] = u8::try_from(number).unwrap_or(0);
    let rights: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !rights.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&rights)) {
        return Err(refuse("more descriptors than a message has"));
    }
    let slices = [IoSlice::new(&head), IoSlice::new(body)];
    let sent = loop {
        match sendmsg(stream, &slices, &mut control, SendFlags::NOSIGNAL) {
            Ok(sent) => break sent,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(fault(errno.into()).into()),
        }
    };
    let mut writer = stream;
    let rest =
        [&head[sent.min(HEAD_BYTES)..], &body[sent.saturating_sub(HEAD_BYTES).min(body.len())..]];
    for rest in rest {
        writer.write_all(rest).map_err(fault)?;
    }
    Ok(())
}

fn refuse(detail: &str) -> Failure {
    Refusal::new(&NOT_A_MESSAGE, detail.to_owned()).into()
}
