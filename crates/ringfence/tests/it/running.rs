//! `run`, with backends and VMMs that are shell scripts: whatever goes wrong, it is said who did,
//! and nothing is left behind.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::program::{Outcome, Scratch, outcome};
use crate::schema;

/// A backend that listens, as far as anybody can see from the file system, until it is stopped.
const LISTENS: &str = "exec perl -MIO::Socket::UNIX -e '
    my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die; sleep 1000' \"$1\"";

/// Writes a VM that uses the scripts `backend` and `vmm`.
pub(crate) fn vm(scratch: &Scratch, backend: &str, vmm: &str) {
    scratch.script("backend", backend);
    scratch.script("vmm", vmm);
    scratch.write(
        "vm.toml",
        "[vm]\nname = \"test\"\nmemory = \"64M\"\nvmm = \"./vmm\"\n\n[[device]]\n\
         kind = \"vhost-user\"\nname = \"disk\"\ndevice = \"blk\"\nwindow = \"4M\"\n\
         backend = [\"./backend\", \"{socket}\"]\n",
    );
}

fn run(scratch: &Scratch) -> Outcome {
    let outcome = outcome(&mut scratch.ringfence(&["run", "vm.toml"]));
    scratch.assert_nothing_left();
    outcome
}

#[test]
fn a_guest_that_switches_off_is_the_ordinary_end() {
    let scratch = Scratch::new("off");
    vm(&scratch, LISTENS, "echo 'hello from the guest'; printf 'last words'");
    let outcome = run(&scratch);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let (console, report) = outcome.stdout.split_at("hello from the guest\nlast words\n".len());
    assert_eq!(console, "hello from the guest\nlast words\n");
    assert!(outcome.stderr.contains("test: the guest switched off after"), "{}", outcome.stderr);
    let seen = "4 MiB window; 0 of 64 MiB guest memory";
    assert!(report.contains(seen), "{report}");
}

#[test]
fn the_report_as_json_has_standard_output_to_itself() {
    let scratch = Scratch::new("json");
    vm(&scratch, LISTENS, "echo 'hello from the guest'");
    let outcome = outcome(&mut scratch.ringfence(&["run", "--json", "vm.toml"]));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    schema::check("run", &outcome.stdout);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(report["ending"], "guest-ended");
    assert_eq!(report["devices"][0]["visible_guest_memory_bytes"], 0);
    assert_eq!(report["devices"][0]["visible_window_bytes"], 4 << 20);
    assert!(outcome.stderr.contains("hello from the guest"), "{}", outcome.stderr);
    for jail in [&report["devices"][0]["backend_jail"], &report["devices"][0]["fence"]["jail"]] {
        let rules = jail
            .as_array()
            .and_then(|jail| jail.iter().find(|entry| entry["protection"] == "no-new-privileges"));
        assert_eq!(rules.expect("an entry")["standing"], "held", "{jail}");
    }
    scratch.assert_nothing_left();
}

#[test]
fn a_backend_may_append_to_its_path() {
    let scratch = Scratch::new("suffix");
    vm(&scratch, &LISTENS.replace("\"$1\"", "\"${1}0\""), "exit 0");
    scratch.configure("socket_suffix = \"0\"\n");
    let outcome = run(&scratch);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

#[test]
fn a_backend_has_a_few_variables_and_those_it_is_given() {
    let scratch = Scratch::new("environment");
    vm(&scratch, &format!("env | sort | grep -v -e ^PWD= -e ^_= -e ^SHLVL=; {LISTENS}"), "sleep 1");
    scratch.configure("environment = { GIVEN = \"by name\" }\n");
    let mut run = scratch.ringfence(&["run", "vm.toml"]);
    run.env("SECRET", "of the operator").env("LANG", "C").env("LD_DEBUG_OUTPUT", "x");
    let outcome = outcome(&mut run);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("GIVEN=by name"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("LANG=C"), "{}", outcome.stderr);
    for absent in ["SECRET=", "LD_DEBUG_OUTPUT=", "RINGFENCE_JAIL="] {
        assert!(!outcome.stderr.contains(absent), "{absent}: {}", outcome.stderr);
    }
    scratch.assert_nothing_left();
}

#[test]
fn a_backend_sees_what_it_was_given_and_can_be_left_unjailed() {
    let secret = "cat secret given/file 2>&1; ";
    for (more, sees_secret) in [("", false), ("jail = \"off\"\n", true)] {
        let scratch = Scratch::new(if sees_secret { "unjailed" } else { "jailed" });
        scratch.write("secret", "the operator's secret\n");
        std::fs::create_dir(scratch.path().join("given")).expect("a folder");
        scratch.write("given/file", "what was given\n");
        // It sees its neighbours no more than files, and the VMM's control least of all.
        let looks = format!("{secret}ls \"$XDG_RUNTIME_DIR/ringfence/test\"; {LISTENS}");
        vm(&scratch, &looks, "exit 0");
        scratch.configure(&format!("readable = [\"given\"]\n{more}"));
        let outcome = run(&scratch);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let said = |words: &str| outcome.stderr.contains(words);
        assert!(said("backend of disk: what was given"), "{}", outcome.stderr);
        assert_eq!(said("the operator's secret"), sees_secret, "{}", outcome.stderr);
        let jail = if sees_secret { "not jailed, as configured" } else { "jailed" };
        for who in ["backend", "fence"] {
            assert!(said(&format!("{who} of disk: {jail}")), "{}", outcome.stderr);
        }
    }
}

#[test]
fn a_jail_that_is_not_there_is_not_verified() {
    let scratch = Scratch::new("verify");
    let arguments = ["fence", "vhost-user", "--listen", "l", "--backend", "b", "--jail", "verify"];
    let outcome = outcome(&mut scratch.ringfence(&arguments));
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("RF0501 a required protection is missing"),
        "{}",
        outcome.stderr
    );
    scratch.assert_nothing_left();
}

#[test]
fn a_missing_program_is_refused_before_anything_is_started() {
    let scratch = Scratch::new("missing");
    vm(&scratch, "touch started", "exit 0");
    std::fs::remove_file(scratch.path().join("vmm")).expect("it was there");
    let outcome = run(&scratch);
    assert_eq!(outcome.code, Some(5), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("RF0301 program not found: the VMM: "), "{}", outcome.stderr);
    assert!(!scratch.path().join("started").exists(), "the backend was started");
}

#[test]
fn a_backend_that_dies_at_once_is_named_with_its_last_words() {
    let scratch = Scratch::new("dies");
    vm(&scratch, "echo 'no such \u{1b}[31mimage' >&2; exit 3", "sleep 1000");
    let outcome = run(&scratch);
    assert_eq!(outcome.code, Some(5), "{}", outcome.stderr);
    for words in [
        "error: the backend of disk died: exit code 3; its last words:\n    no such image\n",
        "next: put right what it complains about; by hand it is\n    ",
    ] {
        assert!(outcome.stderr.contains(words), "no {words:?} in {}", outcome.stderr);
    }
}

#[test]
fn a_backend_that_never_listens_is_given_up() {
    let scratch = Scratch::new("mute");
    vm(&scratch, "echo 'thinking' >&2; exec sleep 1000", "sleep 1000");
    let outcome = run(&scratch);
    assert_eq!(outcome.code, Some(5), "{}", outcome.stderr);
    let words = "error: the backend of disk did not listen on ";
    assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("within 10 s; its last words:\n    thinking"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_backend_that_is_not_to_be_started_again_takes_everything_with_it() {
    let scratch = Scratch::new("later");
    // The VMM is up before the backend goes.
    let backend = LISTENS.replace("sleep 1000", "sleep 1 until -e \"vm/up\"; kill 9, $$");
    vm(&scratch, &backend, "touch vm/up; exec sleep 1000");
    // In its jail it sees nothing that it was not given.
    std::fs::create_dir(scratch.path().join("vm")).expect("a folder");
    scratch.configure("readable = [\"vm\"]\nrestart = false\n");
    let outcome = run(&scratch);
    assert_eq!(outcome.code, Some(5), "{}", outcome.stderr);
    let words = "the backend of disk died: killed by signal 9";
    assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
}

#[test]
fn a_vmm_that_fails_is_the_environments_fault() {
    let scratch = Scratch::new("vmm");
    vm(&scratch, LISTENS, "echo 'qemu: no' >&2; exit 1");
    let outcome = run(&scratch);
    assert_eq!(outcome.code, Some(5), "{}", outcome.stderr);
    let words = "error: the VMM died: exit code 1; its last words:\n    qemu: no\n";
    assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
}

#[test]
fn a_refusal_is_said_counted_and_decides_the_exit_code() {
    let scratch = Scratch::new("refusal");
    // A VMM that talks nonsense to the fence, sees it hang up, and ends in peace.
    let vmm = "exec perl -MIO::Socket::UNIX -e '
        my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die;
        syswrite $s, \"nonsense\" x 8; 1 while sysread $s, my $b, 99;
        sleep 1' \"$XDG_RUNTIME_DIR/ringfence/test/disk.sock\"";
    vm(&scratch, LISTENS, vmm);
    let outcome = outcome(&mut scratch.ringfence(&["run", "--json", "vm.toml"]));
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("disk: refused the backend: RF02"), "{}", outcome.stderr);
    schema::check("run", &outcome.stdout);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!((&report["ending"], &report["exit_code"]), (&"guest-ended".into(), &1.into()));
    let refusals = report["devices"][0]["fence"]["refusals"].as_u64();
    assert!(refusals.is_some_and(|count| count > 0), "{}", outcome.stdout);
    schema::check("fence", &report["devices"][0]["fence"].to_string());
    scratch.assert_nothing_left();
}

#[test]
fn asked_to_stop_it_stops_everything() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let scratch = Scratch::new("stop");
        vm(&scratch, LISTENS, "echo up; exec sleep 1000");
        let mut child = scratch
            .ringfence(&["run", "vm.toml"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("text");
        assert_eq!(line, "up\n");

        // Meanwhile nobody else can have its name.
        let second = outcome(&mut scratch.ringfence(&["run", "vm.toml"]));
        assert_eq!(second.code, Some(1), "{}", second.stderr);
        assert!(second.stderr.contains("RF0412 already runs: `test`"), "{}", second.stderr);

        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).expect("it runs");
        let outcome = Outcome::from(child.wait_with_output().expect("it ends"));
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("test: stopped on request after"), "{}", outcome.stderr);
        scratch.assert_nothing_left();
    }
}

#[test]
fn killed_it_leaves_no_process_and_the_next_run_clears_the_rest() {
    let scratch = Scratch::new("killed");
    vm(&scratch, LISTENS, "echo up; exec sleep 1000");
    let mut child = scratch
        .ringfence(&["run", "vm.toml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program can be started");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("text");
    assert_eq!(line, "up\n");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(scratch.runs().join("test").exists(), "what a killed run leaves");

    scratch.script("vmm", "exit 0");
    let next = run(&scratch);
    assert_eq!(next.code, Some(0), "{}", next.stderr);
}

#[test]
fn a_console_nobody_reads_any_more_ends_the_run() {
    let scratch = Scratch::new("closed");
    vm(&scratch, LISTENS, "while :; do echo line; sleep 0.01; done");
    let mut child = scratch
        .ringfence(&["run", "vm.toml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("text");
    let outcome = Outcome::from(child.wait_with_output().expect("it ends"));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("nobody reads its console any more"), "{}", outcome.stderr);
    scratch.assert_nothing_left();
}

#[test]
fn a_dry_run_shows_the_commands_and_starts_nothing() {
    let scratch = Scratch::new("dry");
    vm(&scratch, "touch started", "touch started");
    let outcome = outcome(&mut scratch.ringfence(&["run", "--dry-run", "vm.toml"]));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let [backend, fence, vmm] = outcome.stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("not three commands: {}", outcome.stdout)
    };
    assert!(backend.contains("backend ") && backend.ends_with("/test/disk/backend"), "{backend}");
    assert!(fence.contains(" fence vhost-user ") && fence.contains("--window 4194304B"), "{fence}");
    assert!(vmm.contains("vhost-user-blk-pci") && vmm.contains("share=on"), "{vmm}");
    assert!(!scratch.path().join("started").exists(), "something was started");
    scratch.assert_nothing_left();
}

#[test]
fn a_path_too_long_for_a_socket_is_refused() {
    let scratch = Scratch::new("long");
    vm(&scratch, LISTENS, "exit 0");
    let long = scratch.path().join("x".repeat(100));
    std::fs::create_dir(&long).expect("a folder");
    let outcome = outcome(scratch.ringfence(&["run", "vm.toml"]).env("XDG_RUNTIME_DIR", &long));
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("RF0414 path too long for a socket"), "{}", outcome.stderr);
}
