//! Backends that die under a running VM: started again, or not, and why.
//!
//! The fence is the real one. Backends and VMMs are scripts that speak as much vhost-user as it
//! takes to be connected through it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::program::{Outcome, Scratch, outcome};
use crate::running::vm;
use crate::schema;

/// A backend that is there for a VMM; `ACT` is what it does once it has one, `END` once it has none.
const SPEAKS: &str = "echo start >> state/starts; exec perl -MIO::Socket::UNIX -e '
    my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die \"cannot listen: $!\";
    while (my $c = $s->accept) {
        while (sysread $c, my $head, 12) {
            my ($request, $flags, $size) = unpack \"V3\", $head;
            sysread $c, my $body, $size if $size;
            syswrite $c, pack(\"V3 Q<\", 1, 5, 8, 1 << 32) if $request == 1;
            if ($request == 3) { ACT }
        }
        END
    }' \"$1\"";

/// A VMM that connects to its device, and switches off once its fence says `SAYS`.
const CONNECTS: &str = "exec perl -MIO::Socket::UNIX -e '
    my $at = \"$ENV{XDG_RUNTIME_DIR}/ringfence/test/disk\";
    my $c = IO::Socket::UNIX->new(Peer => \"$at.sock\") or die;
    for (1 .. 3000) {
        select undef, undef, undef, 0.01;
        my $s = IO::Socket::UNIX->new(Peer => \"$at.status\") or next;
        local $/;
        if (<$s> =~ /SAYS/) { sleep 1; exit 0 }
    }
    die \"the fence never said it\"'";

/// Only the first of its kind does `what`.
fn once(what: &str) -> String {
    format!("unless (-e \"state/died\") {{ open my $f, \">\", \"state/died\"; {what} }}")
}

fn scratch(name: &str, backend: &str, vmm: &str) -> Scratch {
    let scratch = Scratch::new(name);
    vm(&scratch, backend, vmm);
    // In its jail it sees nothing that it was not given.
    std::fs::create_dir(scratch.path().join("state")).expect("a folder");
    scratch.configure("writable = [\"state\"]\n");
    scratch
}

/// How often the backend was started.
fn starts(scratch: &Scratch) -> usize {
    let starts = std::fs::read_to_string(scratch.path().join("state/starts"));
    starts.unwrap_or_default().lines().count()
}

/// Runs it, and gives the report as well.
fn reported(scratch: &Scratch) -> (Outcome, Value) {
    let outcome = outcome(&mut scratch.ringfence(&["run", "--json", "vm.toml"]));
    scratch.assert_nothing_left();
    schema::check("run", &outcome.stdout);
    let report = serde_json::from_str(&outcome.stdout).expect("JSON");
    (outcome, report)
}

#[test]
fn a_backend_that_ends_while_it_is_needed_is_started_again() {
    for (index, (end, words)) in [
        ("kill 9, $$", "died: killed by signal 9 (SIGKILL)"),
        ("exit 0", "ended while it was needed"),
    ]
    .into_iter()
    .enumerate()
    {
        let backend = SPEAKS.replace("ACT", &once(end)).replace("END", "");
        let vmm = CONNECTS.replace("SAYS", "\"reconnects\":1");
        let scratch = scratch(&format!("again-{index}"), &backend, &vmm);
        let (outcome, report) = reported(&scratch);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert_eq!(report["ending"], "guest-ended");
        let device = &report["devices"][0];
        assert_eq!((&device["restarts"], &device["given_again"]), (&1.into(), &0.into()));
        assert_eq!(device["fence"]["reconnects"], 1);
        assert_eq!(starts(&scratch), 2);
        let said = format!("the backend of disk {words}; it is started again");
        assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
        // Its jail is the same, and said once.
        assert_eq!(outcome.stderr.matches("backend of disk: jailed").count(), 1);
    }
}

#[test]
fn the_report_tells_people_of_it() {
    let backend = SPEAKS.replace("ACT", &once("exit 1")).replace("END", "");
    let scratch = scratch("told", &backend, &CONNECTS.replace("SAYS", "\"reconnects\":1"));
    let outcome = outcome(&mut scratch.ringfence(&["run", "vm.toml"]));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let line = " disk: backend was started again once; 0 requests were given again\n";
    assert!(outcome.stdout.ends_with(line), "{}", outcome.stdout);
}

#[test]
fn a_backend_that_ends_with_its_vmm_is_not_started_again() {
    let backend = SPEAKS.replace("ACT", "").replace("END", "exit 0");
    let scratch = scratch("meant", &backend, &CONNECTS.replace("SAYS", "connected"));
    let (outcome, report) = reported(&scratch);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!((&report["ending"], starts(&scratch)), (&"guest-ended".into(), 1));
    assert_eq!(report["devices"][0]["restarts"], 0);
}

/// Serves until the VMM is up, and dies at once ever after.
const LOOPS: &str = "echo start >> state/starts
    if [ -e state/served ]; then echo 'bad image' >&2; exit 3; fi
    touch state/served
    exec perl -MIO::Socket::UNIX -e '
        my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die;
        sleep 1 until -e \"state/up\"; exit 3' \"$1\"";

#[test]
fn a_crash_loop_ends_the_run_with_the_reason_and_the_last_words() {
    let scratch = scratch("loop", LOOPS, "touch state/up; exec sleep 1000");
    scratch.configure("restart_max = 2\n");
    let (outcome, report) = reported(&scratch);
    assert_eq!(outcome.code, Some(5), "{}", outcome.stderr);
    let words = "error: the backend of disk died: exit code 3, 3 times in a row without having \
                 completed a request; its last words:\n    bad image\n";
    assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    assert_eq!((&report["ending"], &report["exit_code"]), (&"died".into(), &5.into()));
    assert_eq!(report["devices"][0]["restarts"], 2);
    assert_eq!(starts(&scratch), 3);
}

#[test]
fn a_successor_that_never_listens_counts_as_dead() {
    let mute = LOOPS.replace("echo 'bad image' >&2; exit 3", "echo thinking; exec sleep 1000");
    let scratch = scratch("never-again", &mute, "touch state/up; exec sleep 1000");
    scratch.configure("restart_max = 1\n");
    let (outcome, _) = reported(&scratch);
    assert_eq!(outcome.code, Some(5), "{}", outcome.stderr);
    for words in [
        "error: the backend of disk did not listen on ",
        " again, twice in a row without having completed a request; its last words:\n    thinking",
    ] {
        assert!(outcome.stderr.contains(words), "no {words:?} in {}", outcome.stderr);
    }
    assert_eq!(starts(&scratch), 2);
}

#[test]
fn a_backend_that_lied_is_not_started_again() {
    // It answers what nobody asked, and is gone.
    let lies = "syswrite $c, pack(\"V3 Q<\", 99, 5, 8, 0); sleep 1; exit 1";
    let backend = SPEAKS.replace("ACT", lies).replace("END", "");
    let scratch = scratch("liar", &backend, &CONNECTS.replace("SAYS", "backend distrusted"));
    // The VMM outlives it.
    scratch.script("vmm", &CONNECTS.replace("SAYS", "distrusted").replace("sleep 1", "sleep 3"));
    let (outcome, report) = reported(&scratch);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert_eq!((&report["ending"], &report["exit_code"]), (&"guest-ended".into(), &1.into()));
    let words = "the backend of disk died: exit code 1; not started again, as it lied: RF0215 ";
    assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    assert_eq!(report["devices"][0]["restarts"], 0);
    let offence = &report["devices"][0]["fence"]["offences"][0];
    assert_eq!((&offence["peer"], &offence["code"]), (&"backend".into(), &"RF0215".into()));
    assert_eq!(starts(&scratch), 1);
}

#[test]
fn asked_to_stop_between_two_starts_it_stops() {
    let scratch = scratch("between", LOOPS, "touch state/up; exec sleep 1000");
    let child = scratch
        .ringfence(&["run", "vm.toml"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    // By now the pauses are long, and the end of the last is far.
    while starts(&scratch) < 6 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let outcome = Outcome::from(child.wait_with_output().expect("it ends"));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("test: stopped on request after"), "{}", outcome.stderr);
    assert!(starts(&scratch) < 9, "it was not asked in between: {}", outcome.stderr);
    scratch.assert_nothing_left();
}

#[test]
fn a_vmm_that_ends_between_two_starts_ends_the_run() {
    let vmm = "touch state/up; while [ \"$(wc -l < state/starts)\" -lt 6 ]; do sleep 0.01; done";
    let scratch = scratch("ends-between", LOOPS, vmm);
    let (outcome, report) = reported(&scratch);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(report["ending"], "guest-ended");
}
