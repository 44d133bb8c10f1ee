//! `status`, with nothing up, with something left behind, and with a fence.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::program::{Scratch, outcome};
use crate::schema;

#[test]
fn nothing_up_is_said_and_is_no_error() {
    let scratch = Scratch::new("status");
    let plain = outcome(&mut scratch.ringfence(&["status"]));
    assert_eq!((plain.code, plain.stdout.as_str()), (Some(0), ""));
    assert!(plain.stderr.starts_with("no fence is up (looked in "), "{}", plain.stderr);
    let json = outcome(&mut scratch.ringfence(&["status", "--json"]));
    assert_eq!((json.code, json.stderr.as_str()), (Some(0), ""));
    schema::check("status", &json.stdout);
}

#[test]
fn what_a_dead_run_left_is_said_and_skipped() {
    let scratch = Scratch::new("stale");
    let folder = scratch.runs().join("dead");
    std::fs::create_dir_all(&folder).expect("a folder");
    drop(UnixListener::bind(folder.join("disk.status")).expect("a socket"));
    let plain = outcome(&mut scratch.ringfence(&["status"]));
    assert_eq!((plain.code, plain.stdout.as_str()), (Some(0), ""));
    assert!(
        plain.stderr.contains("left behind by a run that is gone; skipped"),
        "{}",
        plain.stderr
    );
    let json = outcome(&mut scratch.ringfence(&["status", "--json"]));
    schema::check("status", &json.stdout);
    assert!(json.stdout.contains("left behind by"), "{}", json.stdout);
}

#[test]
fn a_socket_that_says_nonsense_is_said_and_skipped() {
    let scratch = Scratch::new("nonsense");
    let folder = scratch.runs().join("odd");
    std::fs::create_dir_all(&folder).expect("a folder");
    let listener = UnixListener::bind(folder.join("disk.status")).expect("a socket");
    let answers = std::thread::spawn(move || {
        use std::io::Write;
        for answer in ["", "{\"schema\": \"other/1\"}", &"x".repeat(1 << 20)] {
            let (mut stream, _) = listener.accept().expect("a visitor");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    for _ in 0..3 {
        let plain = outcome(&mut scratch.ringfence(&["status"]));
        assert_eq!((plain.code, plain.stdout.as_str()), (Some(0), ""), "{}", plain.stderr);
        assert!(plain.stderr.contains("; skipped"), "{}", plain.stderr);
    }
    answers.join().expect("three visitors");
}

/// A fence by itself, stopped when dropped.
pub(crate) struct Fence(Child);

impl Fence {
    pub(crate) fn up(scratch: &Scratch, arguments: &[&str]) -> Self {
        let mut all = vec!["fence", "vhost-user"];
        all.extend(arguments);
        let child = scratch
            .ringfence(&all)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let json = outcome(&mut scratch.ringfence(&["status", "--json"]));
            if json.stdout.contains("\"state\"") {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child)
    }

    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let mut said = String::new();
        let mut stderr = self.0.stderr.take().expect("a pipe");
        std::io::Read::read_to_string(&mut stderr, &mut said).expect("text");
        (self.0.wait().expect("it ends").code(), said)
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_fence_by_itself_is_shown_and_cleans_up() {
    let scratch = Scratch::new("fence");
    let listen = scratch.path().join("disk.sock");
    // A socket nobody listens on any more is in the way, and replaced.
    drop(UnixListener::bind(&listen).expect("a socket"));
    let arguments =
        ["--listen", "disk.sock", "--backend", "real.sock", "--window", "16M", "--name", "disk"];
    let fence = Fence::up(&scratch, &arguments);
    let mode = listen.metadata().expect("it listens").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others could connect");
    let json = outcome(&mut scratch.ringfence(&["status", "--json"]));
    schema::check("status", &json.stdout);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(value["fences"][0]["name"], "disk");
    assert_eq!(value["fences"][0]["vm"], serde_json::Value::Null);
    assert_eq!(value["fences"][0]["window_bytes"], 16 << 20);
    let table = outcome(&mut scratch.ringfence(&["status"]));
    assert!(table.stdout.contains("16 MiB"), "{}", table.stdout);

    // A second one does not take the place of the first.
    let mut second = vec!["fence", "vhost-user"];
    second.extend(arguments);
    let second = outcome(&mut scratch.ringfence(&second));
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("RF0415 path in use"), "{}", second.stderr);

    let (code, said) = fence.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("disk: fence up at disk.sock; real.sock can see 16 MiB"), "{said}");
    // The second one did not even connect to see whether somebody listens.
    assert!(said.contains("after 0 sessions, 0 requests, 0 refused"), "{said}");
    assert!(!listen.exists(), "the socket is left");
    scratch.assert_nothing_left();
}

#[test]
fn a_fence_refuses_paths_it_cannot_have() {
    let scratch = Scratch::new("fence-paths");
    scratch.write("file", "not a socket");
    let long = format!("{}.sock", "x".repeat(120));
    for (listen, code, exit) in [("file", "RF0415", 1), (&long, "RF0414", 2)] {
        let arguments = ["fence", "vhost-user", "--backend", "b", "--listen", listen];
        let outcome = outcome(&mut scratch.ringfence(&arguments));
        assert_eq!(outcome.code, Some(exit), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(code), "{}", outcome.stderr);
    }
    assert!(scratch.path().join("file").is_file(), "somebody's file was removed");
    scratch.assert_nothing_left();
}

#[test]
fn a_runtime_folder_that_others_may_enter_is_refused() {
    let scratch = Scratch::new("open");
    std::fs::create_dir(scratch.runs()).expect("a folder");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(scratch.runs(), open).expect("its mode");
    let arguments = ["fence", "vhost-user", "--backend", "b", "--listen", "l"];
    let outcome = outcome(&mut scratch.ringfence(&arguments));
    assert_eq!(outcome.code, Some(4), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("RF0413 runtime folder not ours alone"), "{}", outcome.stderr);
}
