//! `serve`, and the verbs that talk to it, on a host that is a folder.
//!
//! Its functions have vfio-pci already, so that a claim of them writes nothing to it; groups cannot
//! be held on it, which is a case of its own. Holding is shown on real kernels.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use crate::program::{Outcome, Scratch, outcome};
use crate::schema;

const A: &str = "0000:01:00.0";
const B: &str = "0000:01:00.1";
const NAME: &str = "0000:00+01.0+00.0";

/// A card of two functions, one group.
struct Host(Scratch);

impl Host {
    fn new(test: &str) -> Self {
        let host = Self(Scratch::new(test));
        for folder in ["sys/bus/pci/devices", "sys/kernel/iommu_groups/7/devices", "run"] {
            host.folder(folder);
        }
        for driver in ["vfio-pci", "e1000e"] {
            host.folder(&format!("sys/bus/pci/drivers/{driver}"));
        }
        host.write("proc/self/mountinfo", "21 1 0:20 / / rw - tmpfs none rw\n");
        host.write("proc/sys/kernel/random/boot_id", "first\n");
        host.function(A);
        host.function(B);
        host
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join("host").join(path)
    }

    fn folder(&self, path: &str) {
        std::fs::create_dir_all(self.at(path)).expect("a folder of our own");
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder of our own");
        std::fs::write(path, text).expect("a file of our own");
    }

    fn function(&self, address: &str) {
        let folder = format!("sys/devices/pci0000:00/0000:00:01.0/{address}");
        for (name, text) in [
            ("vendor", "0x8086"),
            ("device", "0x10d3"),
            ("class", "0x020000"),
            ("driver_override", "vfio-pci"),
            ("reset_method", "flr bus"),
        ] {
            self.write(&format!("{folder}/{name}"), text);
        }
        let link = |from: &str, to: &str| {
            symlink(to, self.at(from)).expect("a link of our own");
        };
        link(&format!("sys/bus/pci/devices/{address}"), &format!("../../../../{folder}"));
        link(&format!("{folder}/driver"), "../../../../bus/pci/drivers/vfio-pci");
        link(&format!("{folder}/iommu_group"), "../../../../kernel/iommu_groups/7");
        link(
            &format!("sys/kernel/iommu_groups/7/devices/{address}"),
            &format!("../../../../../{folder}"),
        );
    }

    fn bind(&self, address: &str, driver: &str) {
        let link = self.at(&format!("sys/bus/pci/devices/{address}/driver"));
        std::fs::remove_file(&link).expect("a link of our own");
        symlink(format!("../../../../bus/pci/drivers/{driver}"), link).expect("a link of our own");
    }

    fn ringfence(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.0.ringfence(arguments);
        outcome(command.arg("--root").arg(self.at("")))
    }

    /// The one claim there is, as `status` tells it.
    fn claim(&self) -> Value {
        let status = self.ringfence(&["status", "--json"]);
        schema::check("status", &status.stdout);
        let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
        status["claims"][0].clone()
    }

    fn socket(&self) -> PathBuf {
        self.at("run/ringfence/claims.service/socket")
    }
}

/// A service, stopped when dropped.
struct Service {
    child: Child,
    events: Lines<BufReader<ChildStdout>>,
}

impl Service {
    fn up(host: &Host) -> Self {
        let mut command = host.0.ringfence(&["serve", "--json"]);
        let mut child = command
            .arg("--root")
            .arg(host.at(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the program can be started");
        let events = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut service = Self { child, events };
        service.expect("serving");
        service
    }

    /// Waits for an event of this kind; what it says.
    #[track_caller]
    fn expect(&mut self, event: &str) -> Value {
        for line in &mut self.events {
            let line = line.expect("text");
            schema::check("event", &line);
            let value: Value = serde_json::from_str(&line).expect("JSON");
            if value["event"] == event {
                return value;
            }
        }
        panic!("it ended without an event of the kind {event}");
    }

    fn stop(mut self) -> Value {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let last = self.expect("stopped");
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
        last
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_claim_is_watched_by_the_service_and_by_nobody_without() {
    let host = Host::new("serve");
    let rehearsed = host.ringfence(&["claim", A, "--dry-run", "--json"]);
    assert_eq!(rehearsed.code, Some(0), "{}", rehearsed.stderr);
    schema::check("claims", &rehearsed.stdout);
    host.bind(B, "e1000e");
    let rehearsed = host.ringfence(&["claim", A, "--dry-run"]);
    for words in [
        &format!("isolated together: {A} {B}\n"),
        &format!("{A}: no VM can have it now: {B} is bound to e1000e\n"),
        &format!("{A}: is reset alone (flr); by its bus it is reset with {B}\n"),
    ] {
        assert!(rehearsed.stdout.contains(words), "{words}\n{}", rehearsed.stdout);
    }
    host.bind(B, "vfio-pci");
    let claimed = host.ringfence(&["claim", A, "--watched"]);
    assert_eq!(claimed.code, Some(0), "{}", claimed.stderr);
    assert!(claimed.stderr.contains("neither held nor watched"), "{}", claimed.stderr);
    assert_eq!(host.claim()["lock"], "neither");
    assert_eq!(host.claim()["wanted"], "watched");

    let mut service = Service::up(&host);
    let claim = host.claim();
    assert_eq!((&claim["name"], &claim["lock"]), (&NAME.into(), &"watched".into()));
    assert_eq!(claim["by"], service.child.id());
    let again = host.ringfence(&["claim", B]);
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert!(again.stderr.contains("RF0712"), "{}", again.stderr);
    let second = host.ringfence(&["serve"]);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("RF0412"), "{}", second.stderr);

    // Asking for its status makes it look, so nobody has to wait for the next look.
    host.bind(B, "e1000e");
    assert_eq!(host.claim()["events"], 1);
    let breach = service.expect("breach");
    assert_eq!((&breach["claim"], &breach["function"]), (&NAME.into(), &B.into()));
    let listed = host.ringfence(&["claim", "--json"]);
    assert_eq!(listed.code, Some(1), "{}", listed.stderr);
    schema::check("claims", &listed.stdout);
    host.bind(B, "vfio-pci");
    assert_eq!(host.claim()["breaches"], serde_json::json!([]));
    service.expect("mended");
    let plain = host.ringfence(&["status"]);
    let words = format!("watched by {}", service.child.id());
    assert!(plain.stdout.contains(&words), "{}", plain.stdout);

    let last = service.stop();
    assert!(last["sentence"].as_str().is_some_and(|it| it.starts_with("1 claim left")), "{last}");
    assert!(!host.socket().exists(), "the socket is left");
    assert_eq!(host.claim()["lock"], "neither");
}

#[test]
fn a_claim_through_the_service_says_why_it_is_not_held_and_can_be_left_unheld() {
    let host = Host::new("serve-claim");
    host.write("dev/vfio/vfio", "");
    host.write("dev/vfio/7", "");
    let mut service = Service::up(&host);
    let claimed = host.ringfence(&["claim", A, "--json"]);
    assert_eq!(claimed.code, Some(0), "{}", claimed.stderr);
    schema::check("claims", &claimed.stdout);
    let not_held = service.expect("not-held");
    assert_eq!(not_held["claim"], NAME);
    let claim = host.claim();
    assert_eq!((&claim["lock"], &claim["wanted"]), (&"watched".into(), &"held".into()));
    assert!(claim["reason"].as_str().is_some_and(|why| why.contains("RF0717")), "{claim}");
    let left = host.ringfence(&["claim", "--watched", A, B]);
    assert_eq!(left.code, Some(0), "{}", left.stderr);
    service.expect("watched");
    let claim = host.claim();
    assert_eq!((&claim["wanted"], &claim["reason"]), (&"watched".into(), &Value::Null));

    let released = host.ringfence(&["release", B]);
    assert_eq!((released.code, released.stderr), (Some(0), format!("released {NAME}\n")));
    service.expect("released");
    let again = host.ringfence(&["release", B]);
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert!(again.stderr.contains("RF0715"), "{}", again.stderr);
}

#[test]
fn a_service_that_was_killed_leaves_the_claims_and_the_next_one_takes_its_place() {
    let host = Host::new("serve-killed");
    let mut service = Service::up(&host);
    assert_eq!(host.ringfence(&["claim", A, "--watched"]).code, Some(0));
    service.child.kill().expect("it runs");
    service.child.wait().expect("it ends");
    assert!(host.socket().exists(), "killed, it could not clean up");
    assert_eq!(host.claim()["lock"], "neither");
    let next = Service::up(&host);
    let claim = host.claim();
    assert_eq!((&claim["lock"], &claim["by"]), (&"watched".into(), &next.child.id().into()));
    drop(service);
}

#[test]
fn what_is_no_request_is_answered_and_others_are_served() {
    let host = Host::new("serve-nonsense");
    let _service = Service::up(&host);
    let folder = host.socket().parent().expect("it has one").metadata().expect("it is there");
    assert_eq!(folder.permissions().mode() & 0o777, 0o700, "others could ask");
    let mut silent = UnixStream::connect(host.socket()).expect("it listens");
    silent.write_all(b"{").expect("it reads");
    for text in [&b""[..], b"\xff\xff", b"{\"schema\":\"x\"}", &[b'['; 1 << 20]] {
        let mut stream = UnixStream::connect(host.socket()).expect("it listens");
        // It may have heard enough before we are through.
        let _ = stream.write_all(text);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = String::new();
        let _ = std::io::Read::read_to_string(&mut stream, &mut answer);
        assert!(answer.contains("418"), "{answer}");
    }
    assert_eq!(host.ringfence(&["status", "--json"]).code, Some(0));
}
