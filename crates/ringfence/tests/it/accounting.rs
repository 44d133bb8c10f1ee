//! The account of the host service: target lists by a verb, owners and holders at its socket, and what its
//! successor does after a crash, with a supervisor that speaks as systemd does.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use ringfence_addr::{Gpa, Iova, Rights, Span, SpanSet};
use ringfence_iommu::service::batch::Answer as Told;
use ringfence_iommu::service::control::{Reply, WireRights};
use ringfence_iommu::service::{HolderClient, OwnerClient};
use ringfence_iommu::{Account, Domain, Journal, Mapped, Memory, Mode, Piece};
use ringfence_ledger::{Answer, Appears, Owner, Place, Wish};
use ringfence_refusal::Failure;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;

use crate::program::{Outcome, Scratch, outcome};
use crate::schema;

/// A host with nothing in it.
struct Host(Scratch);

impl Host {
    fn new(test: &str) -> Self {
        let host = Self(Scratch::new(test));
        for folder in ["sys/bus/pci/devices", "sys/kernel/iommu_groups", "run"] {
            std::fs::create_dir_all(host.at(folder)).expect("a folder of our own");
        }
        host
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join("host").join(path)
    }

    fn ringfence(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.0.ringfence(arguments);
        outcome(command.arg("--root").arg(self.at("")))
    }

    fn connect(&self) -> UnixStream {
        let socket = self.at("run/ringfence/claims.service/account");
        UnixStream::connect(socket).expect("the service listens")
    }

    /// Starts the service, with `left` given to it as its supervisor does.
    fn serve(&self, supervisor: &Supervisor, left: Option<(&str, &OwnedFd)>) -> Service {
        let own = self.0.ringfence(&[]);
        let mut command = Command::new("sh");
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";
        command.arg("-c").arg(script).arg(own.get_program()).args(["serve", "--json"]);
        command.arg("--root").arg(self.at("")).env("XDG_RUNTIME_DIR", self.0.path());
        command.env("NOTIFY_SOCKET", &supervisor.path);
        if let Some((name, file)) = left {
            command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
            command.stdin(Stdio::from(file.try_clone().expect("a copy")));
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program can be started");
        let events = BufReader::new(child.stdout.take().expect("a pipe"));
        Service { child, events }
    }
}

/// The service, killed when dropped.
struct Service {
    child: Child,
    events: BufReader<ChildStdout>,
}

impl Service {
    /// Its events up to one of this kind; `None` when it ended before.
    fn until(&mut self, event: &str) -> Option<Vec<Value>> {
        let mut events = Vec::new();
        for line in self.events.by_ref().lines() {
            let line = line.expect("text");
            schema::check("event", &line);
            let value: Value = serde_json::from_str(&line).expect("JSON");
            let is_it = value["event"] == event;
            events.push(value);
            if is_it {
                return Some(events);
            }
        }
        None
    }

    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps what it is given, as systemd does.
struct Supervisor {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Supervisor {
    fn new(host: &Host) -> Self {
        let path = host.0.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        Self { path, socket }
    }

    /// The next thing that is handed over, or to be forgotten.
    fn next(&self) -> (String, Vec<OwnedFd>) {
        let mut text = [0; 512];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut text)];
        let got = recvmsg(&self.socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)
            .expect("something within ten seconds");
        let bytes = got.bytes;
        let mut files = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                files.extend(rights);
            }
        }
        (String::from_utf8_lossy(&text[..bytes]).into_owned(), files)
    }

    /// The journal of a service that starts.
    fn journal(&self) -> (String, OwnedFd) {
        loop {
            let (text, mut files) = self.next();
            if let Some(name) = text.strip_prefix("FDSTORE=1\nFDPOLL=0\nFDNAME=") {
                assert!(name.starts_with("journal-"), "{name}");
                return (name.to_owned(), files.remove(0));
            }
        }
    }
}

const PAGE: u64 = 4096;

fn memory(first: u64, count: u64) -> Span<Gpa> {
    Span::from_parts(Gpa::new(first * PAGE), count * PAGE).expect("a span")
}

fn memfd() -> OwnedFd {
    let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
    rustix::fs::ftruncate(&file, 64 * PAGE).expect("long enough");
    file
}

fn owner(host: &Host) -> OwnerClient {
    let (owner, reply) = OwnerClient::new(host.connect(), "vm1").expect("answered");
    assert_eq!(reply, Reply::Done);
    assert_eq!(owner.give_memory(memory(0, 64), memfd(), 0).expect("answered"), Reply::Done);
    owner
}

fn wish(owner: Owner, appears: Appears) -> Wish {
    let (rights, place) = (Rights::READ_WRITE, Place::Chosen);
    Wish { owner, memory: memory(0, 4), rights, place, appears }
}

#[test]
fn target_lists_are_set_shown_and_held_to() {
    let host = Host::new("targets");
    let alone = host.ringfence(&["target", "list"]);
    assert_eq!(alone.code, Some(3), "{}", alone.stderr);
    let supervisor = Supervisor::new(&host);
    let mut service = host.serve(&supervisor, None);
    service.until("serving").expect("it serves");
    let owner = owner(&host);
    assert!(HolderClient::new(host.connect(), "vm1", "disk", None).is_err(), "default deny");
    let added = host.ringfence(&["target", "add", "vm1", "disk", "--quota", "16 KiB"]);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    let (mut disk, _) = HolderClient::new(host.connect(), "vm1", "disk", None).expect("listed");
    let wishes = [wish(disk.owner(), Appears::Host); 2];
    let answers = disk.map(&wishes, Mode::BestEffort).expect("answered");
    assert!(matches!(answers[1], Told::Refused(110, _)), "{answers:?}");

    let list = host.ringfence(&["target", "list", "--json"]);
    schema::check("targets", &list.stdout);
    let list: Value = serde_json::from_str(&list.stdout).expect("JSON");
    assert_eq!(list["targets"][0]["mapped_bytes"], 16384);
    let list = host.ringfence(&["target", "list"]);
    assert!(list.stdout.contains("vm1") && list.stdout.contains("16 KiB"), "{}", list.stdout);
    let refused = host.ringfence(&["target", "remove", "vm1", "disk"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("RF0115"), "{}", refused.stderr);
    let removed = host.ringfence(&["target", "remove", "vm1", "disk", "--revoke"]);
    assert_eq!(removed.code, Some(0), "{}", removed.stderr);
    let wrong = host.ringfence(&["target", "add", "vm1", "disk", "--memory", "0x1000-"]);
    assert_eq!(wrong.code, Some(1), "{}", wrong.stderr);
    assert_eq!(owner.allow("disk", WireRights::Read).expect("answered"), Reply::Done);
    // What is no function, or in no claim, is not opened.
    for device in ["0000:00:02.0", "disk"] {
        host.ringfence(&["target", "add", "vm1", "nic"]);
        assert!(HolderClient::new(host.connect(), "vm1", "nic", Some(device)).is_err());
    }
}

#[test]
fn after_a_crash_the_successor_finds_in_the_journal_who_reached_what() {
    let host = Host::new("crash");
    let supervisor = Supervisor::new(&host);
    let mut service = host.serve(&supervisor, None);
    service.until("serving").expect("it serves");
    let (name, journal) = supervisor.journal();
    let owner = owner(&host);
    assert_eq!(owner.allow("disk", WireRights::ReadWrite).expect("answered"), Reply::Done);
    let (mut disk, _) = HolderClient::new(host.connect(), "vm1", "disk", None).expect("listed");
    disk.map(&[wish(disk.owner(), Appears::Host); 3], Mode::AllOrNothing).expect("answered");
    service.kill();
    let read = Journal::of(File::from(journal.try_clone().expect("a copy"))).expect("sealed");
    assert_eq!(read.found().expect("read").mappings.len(), 3);

    let mut service = host.serve(&supervisor, Some((&name, &journal)));
    let events = service.until("serving").expect("it serves");
    let recovered = events.iter().find(|event| event["event"] == "recovered").expect("said");
    assert!(recovered["sentence"].to_string().contains("3 mappings"), "{recovered}");
    assert!(read.found().expect("read").mappings.is_empty());
    assert_eq!(supervisor.next().0, format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    assert_ne!(supervisor.journal().0, name, "each life has a journal of its own");
}

/// A device whose mappings outlive the service.
struct Deaf(SpanSet<Iova>);

impl Domain<Memory> for Deaf {
    fn usable(&self) -> &SpanSet<Iova> {
        &self.0
    }

    fn map(&mut self, pieces: &[Piece<Memory>]) -> Vec<Mapped> {
        pieces.iter().map(|_| Mapped::Done).collect()
    }

    fn unmap(&mut self, _: &[Span<Iova>], _: &mut dyn FnMut(Span<Iova>, Answer)) {}

    fn flush(&mut self, _: &[Span<Iova>]) -> Result<(), Failure> {
        Ok(())
    }

    fn fence(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn unfence(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// `NOT_RECOVERED`: nobody kept what it takes to cut the device off.
#[test]
fn while_something_may_be_reached_nothing_is_served() {
    let mut account = Account::new(Journal::new(64).expect("a journal"));
    let vm = account.add_owner("vm1");
    account.add_memory(vm, memory(0, 4), Memory::new(16384).expect("memory"), 0).expect("room");
    let usable = Span::from_parts(Iova::new(0), 1 << 30).into_iter().collect();
    let nic = account.add_holder(vm, "nic", Some(Box::new(Deaf(usable)))).expect("entered");
    account.allow(vm, nic, memory(0, 4), Rights::READ_WRITE, None).expect("listed");
    assert!(account.map(nic, &[wish(vm, Appears::Device)], Mode::AllOrNothing)[0].is_ok());
    let journal = account.journal().descriptor().try_clone_to_owned().expect("a copy");

    let host = Host::new("reached");
    let supervisor = Supervisor::new(&host);
    let mut service = host.serve(&supervisor, Some(("journal-0badc0de", &journal)));
    assert!(service.until("serving").is_none());
    assert_eq!(service.child.wait().expect("it ends").code(), Some(1), "RF0421");
    assert_eq!(account.journal().found().expect("read").mappings.len(), 1, "it is kept");
}
