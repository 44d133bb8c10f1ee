//! What a device asks of its client: memory of the guest that came without a descriptor.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use ringfence_addr::{Iova, Span};
use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::io::Errno;
use zerocopy::{FromBytes, IntoBytes};

use crate::connection::{Connection, Message};
use crate::refusals::{ASKED_WHILE_ANSWERING, MALFORMED, UNASKED_REPLY};
use crate::wire::{DmaAccess, HEADER_BYTES, Header, TRANSFER_BYTES_MAX, command};

/// How long a client may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The client of a session, for as long as it lasts. Clones are handles of the same.
///
/// For threads of the device's own: the thread that serves has the client wait for *its* answer, so
/// it is refused there.
#[derive(Clone, Debug)]
pub struct Client(Arc<Link>);

/// A connection with what is asked by way of it.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    server: ThreadId,
    asked: Mutex<Asked>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Asked {
    transfer_bytes_max: u32,
    last_id: u16,
    /// Requests without an answer, or with one that nobody took yet.
    pending: BTreeMap<u16, Option<Message>>,
    is_over: bool,
}

impl Link {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            server: std::thread::current().id(),
            asked: Mutex::default(),
            news: Condvar::new(),
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn set_transfer_bytes_max(&self, bytes: u32) {
        self.asked().transfer_bytes_max = bytes.min(TRANSFER_BYTES_MAX);
    }

    /// Hands an answer to whoever waits for it.
    ///
    /// # Errors
    ///
    /// `RF1013` when nobody does.
    pub(crate) fn answered(&self, message: Message) -> Result<(), Refusal> {
        let Header { id, command, .. } = message.header;
        match self.asked().pending.get_mut(&id) {
            Some(slot @ None) => *slot = Some(message),
            _ => {
                let detail = format!("number {id}, of a request {command}");
                return Err(Refusal::new(&UNASKED_REPLY, detail));
            }
        }
        self.news.notify_all();
        Ok(())
    }

    /// Nothing will be answered any more. The connection ends here: a device may keep its handle.
    pub(crate) fn end(&self) {
        self.connection.close();
        self.asked().is_over = true;
        self.news.notify_all();
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits for the answer; `data` follows the fixed part.
    fn ask(&self, command: u16, access: DmaAccess, data: &[u8]) -> Result<Message, Failure> {
        let fault = |errno| Fault::new("reach memory by", "the client", errno);
        if std::thread::current().id() == self.server {
            let detail = format!("{:#x} bytes at {:#x}", access.count, access.address);
            return Err(Refusal::new(&ASKED_WHILE_ANSWERING, detail).into());
        }
        let id = {
            let mut asked = self.asked();
            if asked.is_over || asked.pending.len() >= usize::from(u16::MAX) {
                return Err(fault(Errno::NOTCONN).into());
            }
            let mut id = asked.last_id.wrapping_add(1);
            while asked.pending.contains_key(&id) {
                id = id.wrapping_add(1);
            }
            asked.last_id = id;
            asked.pending.insert(id, None);
            id
        };
        let mut bytes = [&[0; HEADER_BYTES], access.as_bytes(), data].concat();
        let sent = self.connection.send(Header::request(id, command), &mut bytes, None);
        let deadline = Instant::now() + PATIENCE;
        let mut asked = self.asked();
        loop {
            if let Some(Some(_)) = asked.pending.get(&id) {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if asked.is_over || !matches!(sent, Ok(true)) || left.is_zero() {
                break;
            }
            let woken = self.news.wait_timeout(asked, left);
            asked = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        match asked.pending.remove(&id) {
            Some(Some(answer)) if answer.header.is_error() => {
                let error = i32::try_from(answer.header.error).unwrap_or(0);
                Err(fault(if error == 0 { Errno::IO } else { Errno::from_raw_os_error(error) })
                    .into())
            }
            Some(Some(answer)) => Ok(answer),
            _ => Err(fault(if asked.is_over { Errno::NOTCONN } else { Errno::TIMEDOUT }).into()),
        }
    }
}

impl Client {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self(link)
    }

    /// Reads memory of the guest through the client.
    ///
    /// # Errors
    ///
    /// `RF1014` by the thread that serves, `RF1006` for an answer that does not fit, and a fault
    /// when the client says no, goes, or says nothing for 5 seconds.
    pub fn dma_read(&self, from: Iova, data: &mut [u8]) -> Result<(), Failure> {
        let most = self.transfer_bytes_max();
        for (access, piece) in accesses(from, data.len(), most)?.zip(data.chunks_mut(most)) {
            let answer = self.0.ask(command::DMA_READ, access, &[])?;
            let (said, got) = DmaAccess::read_from_prefix(&answer.body)
                .map_err(|_| unfitting(access, answer.body.len()))?;
            if said.count != access.count || got.len() != piece.len() {
                return Err(unfitting(access, answer.body.len()).into());
            }
            piece.copy_from_slice(got);
        }
        Ok(())
    }

    /// Writes memory of the guest through the client.
    ///
    /// # Errors
    ///
    /// As [`Client::dma_read`].
    pub fn dma_write(&self, to: Iova, data: &[u8]) -> Result<(), Failure> {
        let most = self.transfer_bytes_max();
        for (access, piece) in accesses(to, data.len(), most)?.zip(data.chunks(most)) {
            self.0.ask(command::DMA_WRITE, access, piece)?;
        }
        Ok(())
    }

    fn transfer_bytes_max(&self) -> usize {
        self.0.asked().transfer_bytes_max.max(1) as usize
    }
}

/// The pieces in which so many bytes are reached.
fn accesses(
    from: Iova,
    length: usize,
    most: usize,
) -> Result<impl Iterator<Item = DmaAccess>, Failure> {
    let span = Span::from_parts(from, length as u64);
    if span.is_none() && length != 0 {
        return Err(Refusal::new(&MALFORMED, format!("{length:#x} bytes at {from}")).into());
    }
    Ok((0..length).step_by(most).map(move |offset| DmaAccess {
        address: from.get() + offset as u64,
        count: (length - offset).min(most) as u64,
    }))
}

fn unfitting(access: DmaAccess, length: usize) -> Refusal {
    let detail = format!("an answer of {length} bytes for {:#x} of memory", access.count);
    Refusal::new(&MALFORMED, detail)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::Stopper;

    #[test]
    fn the_thread_that_answers_does_not_ask() {
        let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
        let connection = Connection::new(ours, Stopper::new().expect("a stopper"));
        let client = Client::new(Arc::new(Link::new(connection)));
        for failure in
            [client.dma_read(Iova::new(0), &mut [0; 1]), client.dma_write(Iova::new(0), &[0; 1])]
        {
            let Err(Failure::Refused(refusal)) = failure else { panic!("{failure:?}") };
            assert_eq!(refusal.code(), &ASKED_WHILE_ANSWERING);
        }
        let beyond = client.dma_read(Iova::new(u64::MAX), &mut [0; 2]);
        assert!(beyond.expect_err("no such memory").to_string().starts_with("RF1006"));
    }
}
