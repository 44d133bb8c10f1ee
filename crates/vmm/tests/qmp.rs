//! The QMP client against a peer that says whatever the test wants.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringfence_refusal::{Code, Failure};
use ringfence_vmm::qmp::{EVENTS_MAX, LINE_BYTES_MAX, Qmp};
use ringfence_vmm::refusals::QMP_NOT_UNDERSTOOD;
use serde_json::json;

const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": []}}"#;
const NOTHING: &str = r#"{"return": {}}"#;

/// A peer that greets with the first answer, then sends one answer per line it receives.
struct Peer {
    path: PathBuf,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Peer {
    fn answering(name: &str, answers: &[&str]) -> Self {
        let file = format!("ringfence-qmp-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(file);
        let listener = UnixListener::bind(&path).expect("a socket in the temporary folder");
        let answers: Vec<String> = answers.iter().map(|answer| format!("{answer}\n")).collect();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut lines = BufReader::new(stream.try_clone().expect("a second handle"));
            let mut received = Vec::new();
            for answer in answers {
                // The client may hang up in the middle of what it does not understand.
                let _ = stream.write_all(answer.as_bytes());
                let mut line = String::new();
                if lines.read_line(&mut line).unwrap_or(0) == 0 {
                    break;
                }
                received.push(line.trim().to_owned());
            }
            received
        });
        Self { path, thread: Some(thread) }
    }

    fn connect(&self) -> Result<Qmp, Failure> {
        Qmp::connect(&self.path, soon())
    }

    fn received(mut self) -> Vec<String> {
        self.thread.take().expect("joined once").join().expect("the peer does not panic")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn code_of(failure: &Failure) -> Option<&'static Code> {
    match failure {
        Failure::Refused(refusal) => Some(refusal.code()),
        Failure::Faulted(_) => None,
    }
}

#[test]
fn a_command_goes_out_and_its_answer_comes_back() {
    let peer = Peer::answering(
        "command",
        &[
            GREETING,
            NOTHING,
            "{\"event\": \"RESUME\"}\n{\"return\": {\"status\": \"running\"}}",
            NOTHING,
        ],
    );
    let mut qmp = peer.connect().expect("negotiated");
    assert_eq!(qmp.query_status(soon()).expect("an answer"), "running");
    let events = qmp.take_events();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].name.as_str(), &events[0].data), ("RESUME", &json!(null)));
    qmp.execute("stop", Some(json!({"now": true})), soon()).expect("an answer");
    drop(qmp);
    assert_eq!(
        peer.received(),
        [
            r#"{"execute":"qmp_capabilities"}"#,
            r#"{"execute":"query-status"}"#,
            r#"{"arguments":{"now":true},"execute":"stop"}"#
        ]
    );
}

#[test]
fn an_error_is_a_refusal_in_the_peers_words() {
    let error = r#"{"error": {"class": "GenericError", "desc": "not now"}}"#;
    let peer = Peer::answering("error", &[GREETING, NOTHING, error]);
    let mut qmp = peer.connect().expect("negotiated");
    let failure = qmp.power_down(soon()).expect_err("an error");
    assert_eq!(failure.to_string(), "RF0303 the VMM refused a command: system_powerdown: not now");
}

#[test]
fn quitting_without_an_answer_is_quitting() {
    // It hears the command and hangs up, as QEMU does when it is quick.
    let peer = Peer::answering("quit", &[GREETING, NOTHING]);
    let mut qmp = peer.connect().expect("negotiated");
    qmp.quit(soon()).expect("it is gone, as asked");
    assert_eq!(peer.received().last().map(String::as_str), Some(r#"{"execute":"quit"}"#));
}

#[test]
fn what_is_not_qmp_is_refused() {
    let endless = "x".repeat(LINE_BYTES_MAX + 8192);
    let cases: &[(&str, &[&str])] = &[
        ("no-greeting", &[NOTHING]),
        ("no-json", &["220 mail.example ESMTP"]),
        ("no-object", &["[1]"]),
        ("endless", &[&endless]),
        ("no-event", &[GREETING, r#"{"timestamp": {}}"#]),
        ("no-utf8", &[GREETING, "{\"return\": \"\u{1}\"}"]),
    ];
    for (name, answers) in cases {
        let peer = Peer::answering(name, answers);
        let failure = peer.connect().expect_err(name);
        assert_eq!(code_of(&failure), Some(&QMP_NOT_UNDERSTOOD), "{name}: {failure}");
    }
}

#[test]
fn a_silent_peer_costs_no_more_than_the_deadline() {
    let file = format!("ringfence-qmp-{}-silent", std::process::id());
    let path = std::env::temp_dir().join(file);
    // Connections wait in its queue, and nobody ever takes them.
    let _listener = UnixListener::bind(&path).expect("a socket in the temporary folder");
    let deadline = Instant::now() + Duration::from_millis(100);
    let outcome = Qmp::connect(&path, deadline);
    let ended = Instant::now();
    let _ = std::fs::remove_file(&path);
    let failure = outcome.expect_err("no answer came");
    assert!(ended >= deadline);
    assert!(failure.to_string().starts_with("cannot get an answer from the VMM at"), "{failure}");
}

#[test]
fn a_socket_that_never_appears_costs_no_more_than_the_deadline() {
    let path = std::env::temp_dir().join("ringfence-qmp-never");
    let failure = Qmp::connect(&path, Instant::now()).expect_err("there is nothing");
    assert!(failure.to_string().starts_with("cannot connect to "), "{failure}");
}

#[test]
fn a_flood_of_events_is_kept_to_its_newest() {
    let mut flood: String =
        (0..EVENTS_MAX + 10).map(|n| format!("{{\"event\": \"E{n}\"}}\n")).collect();
    flood.push_str(NOTHING);
    let peer = Peer::answering("flood", &[GREETING, &flood]);
    let mut qmp = peer.connect().expect("negotiated");
    assert_eq!(qmp.next_event(soon()).expect("an event").name, "E10");
    assert_eq!(qmp.take_events().len(), EVENTS_MAX - 1);
}
