//! Answering those who ask the host service: who they are is asked of the kernel, what they say is
//! bounded, and what they want done is done one at a time.

use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ringfence_addr::PciAddress;
use ringfence_device::{Claim, HostWriter, Keeper, Lent, Manager, Root, Strength};
use ringfence_iommu::service::Service;
use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Uid, geteuid};

use super::protocol::{Asked, REQUEST_BYTES_MAX, REQUEST_PATIENCE, Reply, Request, SCHEMA};
use super::telling::{Notice, Teller};
use crate::claims::{ClaimState, kept, store};
use crate::scrubbing::{Extent, scrub};
use crate::status::hear;
use crate::targets::{Target, TargetState};
use crate::{refusals, talk};

/// More do not ask at a time; who comes then is not answered.
const VISITORS_MAX: usize = 16;

/// How long an answer may take to be read.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Where everything is done: what the threads of the service share.
pub(super) struct Desk {
    root: Root,
    keeper: Mutex<Keeper>,
    /// Whoever has this changes claims.
    work: Mutex<()>,
    /// Who may reach which memory; there once it was opened.
    account: OnceLock<Arc<Service>>,
    visitors: AtomicUsize,
    teller: Teller,
}

impl Desk {
    pub(super) fn new(root: Root, teller: Teller) -> Self {
        let (keeper, work) = (Mutex::default(), Mutex::default());
        let (account, visitors) = (OnceLock::new(), AtomicUsize::new(0));
        Self { root, keeper, work, account, visitors, teller }
    }

    pub(super) fn open_account(&self, account: Arc<Service>) {
        // There is one, for as long as the process lasts.
        let _first = self.account.set(account);
    }

    /// Lends a function of a claim that is held.
    pub(super) fn lend(&self, function: PciAddress) -> Result<Lent, Failure> {
        self.keeper().lend(&self.root, function)
    }

    pub(super) fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn work(&self) -> MutexGuard<'_, ()> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the host, and has told what changed.
    pub(super) fn look(&self) {
        let writer = HostWriter::default();
        let manager = self.manager(&writer);
        let events = self.keeper().look(&manager);
        for event in events {
            self.teller.tell(Notice::from(event));
        }
    }

    fn manager<'a>(&self, writer: &'a HostWriter) -> Manager<'a> {
        Manager::new(self.root.clone(), writer, store(&self.root))
    }

    fn obey(&self, request: Request) -> Result<Reply, Failure> {
        let claims = match request {
            Request::Status => {
                self.look();
                kept(&self.keeper())
            }
            Request::Claim { functions, strength } => {
                let functions: Result<Vec<_>, _> =
                    functions.iter().map(|text| address(text)).collect();
                let functions = functions?;
                let _work = self.work();
                let writer = HostWriter::default();
                let claim = self.manager(&writer).locking(strength).claim(&functions)?;
                self.teller.tell(Notice::new(claim.name.clone(), "claimed", "claimed"));
                self.look();
                vec![self.state(claim)]
            }
            Request::Release { function } => {
                let function = address(&function)?;
                let released = self.change(function, |manager| manager.release(function))?;
                vec![ClaimState::alone(released, Vec::new())]
            }
            Request::Lock { function, strength } => {
                let function = address(&function)?;
                let lock = |manager: &Manager<'_>| manager.lock(function, strength);
                let claim = self.change(function, lock)?;
                if strength == Strength::Watched {
                    let words = "watched: a VMM can open its groups now";
                    self.teller.tell(Notice::new(claim.name.clone(), "watched", words));
                }
                vec![self.state(claim)]
            }
            Request::Target(asked) => return self.target(asked),
            Request::Scrub { function, extent } => {
                let function = address(&function)?;
                let scrub = |manager: &Manager<'_>| scrub(manager, function, extent, &mut |_| ());
                let told = self.change(function, scrub)?;
                if extent != Extent::Look {
                    let words = format!("{function} was scrubbed");
                    self.teller.tell(Notice::new(told.claim.clone(), "scrubbed", &words));
                }
                return Ok(Reply::Scrubbed(Box::new(told)));
            }
        };
        Ok(Reply::Done { claims })
    }

    /// Reads or changes target lists.
    fn target(&self, asked: Target) -> Result<Reply, Failure> {
        let Some(account) = self.account.get() else {
            return Err(not_a_request(&"the account is not open yet").into());
        };
        match asked {
            Target::List => {}
            Target::Add(line) => {
                account.allow(line.into_rule().map_err(|why| not_a_request(&why))?)?
            }
            Target::Remove { owner, holder, revoke } => {
                account.disallow(&owner, &holder, revoke)?;
            }
        }
        let targets = account.allowed().into_iter().map(TargetState::from).collect();
        Ok(Reply::Targets { targets })
    }

    /// Changes a claim that we may hold, and keeps it again if it stands still.
    fn change<T>(
        &self,
        function: PciAddress,
        change: impl FnOnce(&Manager<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let _work = self.work();
        // Drivers may take their time, and the other claims are watched meanwhile.
        let name = self.keeper().set_aside(function);
        let writer = HostWriter::default();
        let outcome = change(&self.manager(&writer));
        if let Some(name) = name {
            self.keeper().resume(&name);
        }
        self.look();
        outcome
    }

    /// How a claim is kept.
    fn state(&self, claim: Claim) -> ClaimState {
        let all = kept(&self.keeper());
        let found = all.into_iter().find(|state| state.claim.name == claim.name);
        found.unwrap_or_else(|| ClaimState::alone(claim, Vec::new()))
    }
}

fn address(text: &str) -> Result<PciAddress, Refusal> {
    text.parse().map_err(|error| {
        let what = format!("`{}`: {error}", talk::printable(text));
        Refusal::new(&refusals::NOT_A_REQUEST, what)
    })
}

/// Answers everybody who connects, until the process ends.
pub(super) fn start(listener: UnixListener, desk: &Arc<Desk>) {
    let desk = Arc::clone(desk);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Out of descriptors, say: others may give some back.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            if desk.visitors.fetch_add(1, Ordering::Relaxed) >= VISITORS_MAX {
                desk.visitors.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let desk = Arc::clone(&desk);
            std::thread::spawn(move || {
                answer(stream, &desk);
                desk.visitors.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
}

fn answer(mut stream: UnixStream, desk: &Desk) {
    let reply = match understand(&mut stream).and_then(|request| desk.obey(request)) {
        Ok(reply) => reply,
        Err(failure) => failure.into(),
    };
    let _ = stream.set_write_timeout(Some(ANSWER_PATIENCE));
    if let Ok(text) = serde_json::to_vec(&reply) {
        // Whoever asked may be gone, and what was asked is done all the same.
        let _ = stream.write_all(&text);
    }
}

/// The request of somebody who may ask.
fn understand(stream: &mut UnixStream) -> Result<Request, Failure> {
    let peer = socket_peercred(&*stream)
        .map_err(|errno| Fault::new("ask the kernel for", "the peer's user", errno))?;
    expect_allowed(peer.uid, geteuid())?;
    let text = hear(stream, Instant::now() + REQUEST_PATIENCE, REQUEST_BYTES_MAX)
        .map_err(|error| not_a_request(&error))?;
    parse(&text).map_err(Failure::from)
}

fn not_a_request(why: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(&refusals::NOT_A_REQUEST, talk::printable(&why.to_string()))
}

fn parse(text: &[u8]) -> Result<Request, Refusal> {
    let asked: Asked = serde_json::from_slice(text).map_err(|error| not_a_request(&error))?;
    if asked.schema != SCHEMA {
        let why = io::Error::other(format!("its shape is `{}`, not `{SCHEMA}`", asked.schema));
        return Err(not_a_request(&why));
    }
    Ok(asked.request)
}

/// Refuses whoever is neither root nor the service's own user.
pub(super) fn expect_allowed(peer: Uid, own: Uid) -> Result<(), Refusal> {
    if peer.is_root() || peer == own {
        return Ok(());
    }
    let what = format!("user {} asks the service of user {}", peer.as_raw(), own.as_raw());
    Err(Refusal::new(&refusals::NOT_FOR_YOU, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_its_own_user_may_ask_and_nobody_else() {
        let user = |number| Uid::from_raw(number);
        for (peer, own, may) in [(0, 0, true), (0, 1000, true), (1000, 1000, true)]
            .into_iter()
            .chain([(1000, 0, false), (65534, 0, false), (1001, 1000, false)])
        {
            let outcome = expect_allowed(user(peer), user(own));
            assert_eq!(outcome.is_ok(), may, "{peer} asks {own}");
            if let Err(refusal) = outcome {
                assert_eq!(refusal.code(), &refusals::NOT_FOR_YOU);
            }
        }
    }

    #[test]
    fn what_is_no_request_is_refused_and_says_why() {
        let request = Request::Claim { functions: Vec::new(), strength: Strength::Watched };
        let asked = Asked { schema: SCHEMA.to_owned(), request: request.clone() };
        let text = serde_json::to_vec(&asked).expect("text");
        assert_eq!(parse(&text).expect("a request"), request);
        for text in [
            "",
            "{}",
            "[[[[",
            r#"{"schema": "ringfence.request/2", "ask": "status"}"#,
            r#"{"schema": "ringfence.request/1", "ask": "reboot"}"#,
            r#"{"schema": "ringfence.request/1", "ask": "release"}"#,
            r#"{"schema": "ringfence.request/1", "ask": "release", "function": 7}"#,
        ] {
            let refusal = parse(text.as_bytes()).expect_err(text);
            assert_eq!(refusal.code(), &refusals::NOT_A_REQUEST);
        }
        let refusal = address("\u{1b}[2J0000:01").expect_err("no address");
        assert!(!refusal.to_string().contains('\u{1b}'), "{refusal}");
    }
}
