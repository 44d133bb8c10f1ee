//! Frames from a VMM, and frames from a backend: whole sessions over real sockets, on one thread.
//!
//! Whatever either says, the session ends when the VMM goes, its every answer is to something that
//! was asked, the backend is handed nothing but its window, signals and one socket, and no descriptor
//! stays behind.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;

use super::attended;
use super::honest::{AVAILABLE, Driver, TABLE};
use super::input::Input;
use super::memory::Ram;
use super::messages::{Script, any_files, any_message};
use super::peer::Peer;
use super::{Waiting, guest_rings};
use crate::connection::{Connection, Received};
use crate::counters::Counters;
use crate::guards::Guards;
use crate::options::FenceOptions;
use crate::session::Session;
use crate::window::WINDOW_BYTES_MIN;
use crate::wire::Message;

/// The most one input may have the VMM do.
const STEPS: u32 = 128;

/// How long descriptors of a session may take to be closed: a thread of it may end a moment later.
const CLOSED_BY: Duration = Duration::from_secs(10);

/// The target in which the VMM and its guest are hostile.
pub(super) fn vmm(guards: Guards, data: &[u8]) {
    session(guards, data, true);
}

/// The target in which the backend is hostile.
pub(super) fn backend(guards: Guards, data: &[u8]) {
    session(guards, data, false);
}

/// The VMM's end, and the backend it does not see.
struct Ends {
    input: Input,
    vmm: Option<Connection>,
    peer: Peer,
    script: Script,
    /// An honest guest's driver, unless VMM and guest are the hostile ones.
    driver: Option<Driver>,
    ram: Ram,
    steps: u32,
    /// Requests of messages that have no answer yet, as far as they can be told.
    asked: Vec<u32>,
    is_counted: bool,
}

fn session(guards: Guards, data: &[u8], is_vmm_hostile: bool) {
    let open_before = open_descriptors();
    let socket = Socket::new();
    let mut input = Input::new(data);
    let declined = u64::from(input.byte()) << 28 & 0x3000_0000;
    let (to_vmm, from_vmm) = UnixStream::pair().expect("a socket pair");
    let ram = Ram::new();
    let ends = Rc::new(RefCell::new(Ends {
        peer: Peer::new(&socket.0, input.clone(), !is_vmm_hostile),
        input,
        vmm: Some(Connection::new(from_vmm, "fence")),
        script: Script::new(declined),
        driver: (!is_vmm_hostile).then(|| Driver::new(ram.clone())),
        ram,
        steps: 0,
        asked: Vec::new(),
        is_counted: true,
    }));
    ends.borrow_mut().mark();
    let theirs = Rc::clone(&ends);
    attended(move |waiting| theirs.borrow_mut().act(waiting), || serve(guards, to_vmm, &socket.0));
    let mut ends = Rc::try_unwrap(ends).ok().expect("the session is over").into_inner();
    ends.look();
    ends.ram.assert_secrets_stand();
    drop(ends);
    drop(socket);
    let deadline = Instant::now() + CLOSED_BY;
    while open_descriptors() > open_before {
        assert!(Instant::now() < deadline, "descriptors of the session are still open");
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Serves one VMM to its end, as a fence does.
fn serve(guards: Guards, stream: UnixStream, backend: &std::path::Path) {
    let options = FenceOptions {
        window_bytes: WINDOW_BYTES_MIN,
        spin: Duration::ZERO,
        message_deadline: Duration::from_millis(1),
        drain_deadline: Duration::ZERO,
        patience: Duration::ZERO,
        guards,
        ..FenceOptions::default()
    };
    let stop: OwnedFd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
    let counters = Arc::new(Counters::default());
    // That either end is refused or gone is what a target is about.
    let session = Session::new(stream, backend, options, counters, &stop);
    let _ended = session.and_then(|mut session| session.run());
}

impl Ends {
    /// True when there may be something new for the broker.
    fn act(&mut self, waiting: Waiting) -> bool {
        if waiting == Waiting::Message {
            return self.peer.answer();
        }
        self.look();
        self.peer.act();
        self.steps += 1;
        if self.input.is_over() || self.steps > STEPS {
            self.vmm = None;
        } else if let Some(driver) = self.driver.take() {
            self.driver = Some(self.act_honestly(driver));
        } else {
            self.act_hostile();
        }
        self.mark();
        true
    }

    /// Looks at what the broker did since the last time.
    fn look(&mut self) {
        while let Some(Ok(Received::Message(answer))) = self.vmm.as_mut().map(Connection::receive) {
            let request = answer.header.request;
            assert!(answer.header.is_reply(), "request {request} of the fence's to the VMM");
            assert!(answer.descriptors.is_empty(), "descriptors with the answer to {request}");
            let asked = self.asked.iter().position(|asked| *asked == request);
            assert!(asked.is_some() || !self.is_counted, "an answer to {request}, not asked");
            asked.map(|asked| self.asked.swap_remove(asked));
            self.script.hear(&answer);
        }
        self.ram.assert_secrets_stand();
        if let Some(driver) = self.driver.as_mut() {
            driver.verify();
        }
    }

    /// From here on what the broker does to the guest's memory is looked at.
    fn mark(&mut self) {
        if let Some(driver) = self.driver.as_mut() {
            driver.mark();
        }
    }

    fn act_honestly(&mut self, mut driver: Driver) -> Driver {
        if self.script.has_started() && self.input.below(4) != 0 {
            driver.publish(&mut self.input, self.script.has_indirect());
            return driver;
        }
        self.input.byte();
        if self.script.is_about_to_start() {
            driver.reset();
        }
        let message = self.script.next(&self.ram);
        self.send(&message);
        driver
    }

    fn act_hostile(&mut self) {
        match self.input.below(16) {
            0..=7 => {
                for _ in 0..=self.input.below(12) {
                    let message = self.script.next(&self.ram);
                    self.send(&message);
                }
            }
            8..=11 => {
                let message = any_message(&mut self.input);
                let files = any_files(&mut self.input, self.peer.window());
                self.send(&message.with_descriptors(files));
            }
            12 => {
                // The first bytes of a message, or the last of one.
                let length = usize::from(self.input.below(24));
                let bytes = self.input.take(length);
                if let Some(vmm) = self.vmm.as_ref() {
                    let _gone = rustix::io::write(vmm, &bytes);
                    self.lose_count();
                }
            }
            13 => {
                let at = usize::from(self.input.below(16)) * 16;
                let bytes = guest_rings::descriptor(&mut self.input);
                self.ram.write(TABLE + at, &bytes);
            }
            _ => {
                let head = self.input.below(16);
                let index = self.input.byte();
                self.ram.write(AVAILABLE, &[0, 0, index, 0, head, 0, head, 0, 0, 0, 1, 0]);
            }
        }
    }

    /// What was asked cannot be told any more: messages begin where others ended.
    fn lose_count(&mut self) {
        self.is_counted = false;
    }

    fn send(&mut self, message: &Message) {
        self.asked.push(message.header.request);
        if message.header.size as usize != message.payload.len() {
            self.lose_count();
        }
        let sent = self.vmm.as_mut().map(|vmm| vmm.send_by(message, Instant::now()));
        if sent.is_some_and(|sent| sent.is_err()) {
            self.vmm = None;
        }
    }
}

/// The path of a socket that is gone afterwards.
struct Socket(PathBuf);

impl Socket {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringfence-fuzz-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
