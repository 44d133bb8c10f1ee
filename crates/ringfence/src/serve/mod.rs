//! `serve`: the host service. It keeps the claims of a host locked, each as it is to be, and does
//! for other verbs what only their keeper can do.
//!
//! Three kinds of threads: one watches, one answers per connection, one tells people. What is shared
//! is the keeper, which is locked for a look at the host and never while a driver is waited for.
//!
//! **Invariant:** nothing is lost with the service but the holding. Claims are in journals, and stay.

mod account;
mod answering;
pub(crate) mod client;
pub(crate) mod protocol;
mod telling;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_device::{HostWriter, Manager, News, RUN_FOLDER, Recovered, Root, Strength};
use ringfence_refusal::Fault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::claims::store;
use crate::cli;
use crate::exit::Exit;
use crate::runtime::RunFolder;
use crate::signals::StopRequests;
use crate::socket::Socket;
use answering::Desk;
use telling::{Notice, Teller};

/// Beside the folder of claims; no VM can have this name.
const FOLDER: &str = "claims.service";

const SOCKET: &str = "socket";

/// How often the host is looked at without news.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// News that come faster are answered by one look.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(50);

/// The folder that claims, and what belongs to them, are in.
fn run_folder(root: &Root) -> PathBuf {
    let claims = root.join(RUN_FOLDER.trim_start_matches('/'));
    claims.parent().map_or_else(|| claims.clone(), PathBuf::from)
}

/// Where the service of the host at `root` listens.
fn socket(root: &Root) -> PathBuf {
    run_folder(root).join(FOLDER).join(SOCKET)
}

pub(crate) fn run(arguments: &cli::Serve) -> anyhow::Result<Exit> {
    let root = arguments.at.root();
    // Before anything of ours is open.
    let kept = account::Kept::from_environment()?;
    let stop = StopRequests::listen()?;
    // The folder of claims is made here, so that whoever may not make it is told before anything.
    let recovered = recover(&root)?;
    let folder = RunFolder::claim_in(&run_folder(&root), FOLDER)?;
    let news = News::listen()?;
    let (listener, _socket) = Socket::bind(&folder.socket(SOCKET)?)?;
    let (accounts, _account_socket) = Socket::bind(&folder.socket(account::SOCKET)?)?;
    let teller = Teller::start(arguments.json);
    for notice in recovered {
        teller.tell(notice);
    }
    let desk = Arc::new(Desk::new(root, teller.clone()));
    // What a service before this one left reaching memory is cut off before anything is held or lent.
    let service = account::open(kept, &desk, &teller)?;
    desk.look();
    account::start(accounts, &service);
    desk.open_account(service);
    answering::start(listener, &desk);
    teller.tell(Notice::of_all("serving", standing(&desk)));
    let outcome = watch(&desk, &stop, &news);
    // A claim in the middle of its steps is finished, or undone, before the end.
    let _work = desk.work();
    teller.tell(Notice::of_all("stopped", left(&desk)));
    teller.finish();
    outcome?;
    Ok(Exit::Ok)
}

/// Looks at once when there are news, and now and then without, until asked to stop.
fn watch(desk: &Desk, stop: &StopRequests, news: &News) -> Result<(), Fault> {
    let fault = |errno| Fault::new("wait for", "the kernel's news of devices", errno);
    let every = Timespec::try_from(LOOK_EVERY).ok();
    loop {
        let [is_stopped, is_news] = {
            let mut waited = [PollFd::new(stop, PollFlags::IN), PollFd::new(news, PollFlags::IN)];
            match poll(&mut waited, every.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(fault(errno)),
            }
            waited.map(|one| !one.revents().is_empty())
        };
        if is_stopped {
            return Ok(());
        }
        // News of other devices are none of ours.
        if is_news && !news.take()? {
            continue;
        }
        let began = Instant::now();
        desk.look();
        // Half of a processor at most, whoever makes news how fast.
        std::thread::sleep(began.elapsed().clamp(LOOK_AT_MOST_EVERY, LOOK_EVERY));
    }
}

/// Brings claims that were interrupted back to before; what that came to.
fn recover(root: &Root) -> anyhow::Result<Vec<Notice>> {
    let writer = HostWriter::default();
    let manager = Manager::new(root.clone(), &writer, store(root));
    let recovered = match manager.recover() {
        Ok(recovered) => recovered,
        // One journal that makes no sense does not keep the other claims from being watched.
        Err(ringfence_refusal::Failure::Refused(refusal)) => {
            return Ok(vec![Notice::of_all("not-recovered", refusal.to_string())]);
        }
        Err(failure) => return Err(failure.into()),
    };
    let notice = |recovered| match recovered {
        Recovered::Stands(_) | Recovered::InWork(_) => None,
        Recovered::Undone(claim) => {
            Some(Notice::new(claim.name, "undone", "it was interrupted and is undone"))
        }
        Recovered::Forgotten(name) => {
            Some(Notice::new(name, "forgotten", "it was of an earlier boot and is forgotten"))
        }
        Recovered::Failed(name, failure) => {
            Some(Notice::new(name, "not-recovered", failure.to_string()))
        }
    };
    Ok(recovered.into_iter().filter_map(notice).collect())
}

fn standing(desk: &Desk) -> String {
    let keeper = desk.keeper();
    let held = keeper.kept().filter(|kept| kept.strength() == Strength::Held).count();
    let all = keeper.kept().count();
    format!("{}: {held} held, {} watched", count(all), all - held)
}

fn left(desk: &Desk) -> String {
    let all = desk.keeper().kept().count();
    format!("{} left as they are; nobody holds or watches them now", count(all))
}

fn count(claims: usize) -> String {
    match claims {
        1 => "1 claim".to_owned(),
        claims => format!("{claims} claims"),
    }
}
