//! What a fence by itself says of its peers, and how it ends: who lied, and what was recovered from.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use serde_json::Value;

use crate::program::{Scratch, outcome};
use crate::schema;
use crate::status::Fence;

const GET_FEATURES: u32 = 1;
const SET_OWNER: u32 = 3;

/// A vhost-user answer that carries a number.
fn answer(request: u32, number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [request, 5, 8] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(number.to_le_bytes());
    bytes
}

/// The backend's end of a connection that has come so far that a VMM can be served.
fn greeted(listener: &UnixListener) -> UnixStream {
    let (mut stream, _) = listener.accept().expect("the fence connects");
    loop {
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("a message");
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let mut body = vec![0; word(8) as usize];
        stream.read_exact(&mut body).expect("the rest of it");
        match word(0) {
            GET_FEATURES => {
                stream.write_all(&answer(GET_FEATURES, 1 << 32)).expect("it listens");
            }
            SET_OWNER => return stream,
            other => panic!("message {other} before its time"),
        }
    }
}

/// A fence called disk, and the listener of the backend behind it.
fn fenced(scratch: &Scratch) -> (Fence, UnixListener) {
    let backend = UnixListener::bind(scratch.path().join("real.sock")).expect("a socket");
    let arguments = ["--listen", "disk.sock", "--backend", "real.sock", "--name", "disk"];
    (Fence::up(scratch, &arguments), backend)
}

fn vmm(scratch: &Scratch) -> UnixStream {
    UnixStream::connect(scratch.path().join("disk.sock")).expect("the fence listens")
}

/// Waits until the fence says what is waited for.
fn until(scratch: &Scratch, what: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..3000 {
        let json = outcome(&mut scratch.ringfence(&["status", "--json"])).stdout;
        schema::check("status", &json);
        let status: Value = serde_json::from_str(&json).expect("JSON");
        if what(&status["fences"][0]) {
            return status["fences"][0].clone();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never said so");
}

#[test]
fn a_fence_that_recovered_ends_well_and_says_how_often_it_did() {
    let scratch = Scratch::new("recovered");
    let (fence, backend) = fenced(&scratch);
    let vmm = vmm(&scratch);
    drop(greeted(&backend));
    let successor = greeted(&backend);
    let status = until(&scratch, |status| status["reconnects"] == 1);
    assert_eq!(status["offences"][0]["code"], "RF0216");
    let line = " disk: recovered once from a backend's end, 0 requests given again\n";
    let table = outcome(&mut scratch.ringfence(&["status"]));
    assert!(table.stdout.contains(line), "{}", table.stdout);
    drop(vmm);
    until(&scratch, |status| status["state"] == "waiting");
    drop(successor);
    let (code, said) = fence.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("after 1 sessions, 0 requests, 0 refused"), "{said}");
    assert!(said.contains("disk: recovered once from a backend's end"), "{said}");
}

#[test]
fn a_backend_that_does_not_come_back_is_a_reason_to_end_badly() {
    let scratch = Scratch::new("unrecovered");
    let (fence, backend) = fenced(&scratch);
    let _vmm = vmm(&scratch);
    let connected = greeted(&backend);
    drop(backend);
    drop(connected);
    until(&scratch, |status| status["state"] == "backend gone");
    let (code, said) = fence.stop();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("disk: refused the backend: RF0216 backend is gone"), "{said}");
}

#[test]
fn a_backend_that_lied_is_named_with_its_lie() {
    let scratch = Scratch::new("lied");
    let (fence, backend) = fenced(&scratch);
    let _vmm = vmm(&scratch);
    let mut liar = greeted(&backend);
    liar.write_all(&answer(99, 0)).expect("the fence listens");
    until(&scratch, |status| status["state"] == "backend distrusted");
    let table = outcome(&mut scratch.ringfence(&["status"]));
    let words = "refused the backend: RF0215 backend says no: an answer to nothing, request 99";
    assert!(table.stdout.contains(&format!(" disk: {words}\n")), "{}", table.stdout);
    let (code, said) = fence.stop();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(words), "{said}");
}

#[test]
fn a_vmm_that_lied_again_and_again_is_one_line_with_the_first_lie_and_the_last() {
    let scratch = Scratch::new("lying-vmm");
    let (fence, backend) = fenced(&scratch);
    for request in [7, 8] {
        let mut liar = vmm(&scratch);
        let _backend = greeted(&backend);
        let mut message = answer(request, 0);
        // A version that there is not.
        message[4] = 2;
        liar.write_all(&message).expect("the fence listens");
        // The fence hangs up.
        let _ = liar.read(&mut [0]);
    }
    let status = until(&scratch, |status| status["offences"][0]["count"] == 2);
    let offence = &status["offences"][0];
    assert_eq!((&offence["peer"], &offence["code"]), (&"VMM".into(), &"RF0201".into()));
    assert_ne!(offence["first"], offence["last"]);
    let table = outcome(&mut scratch.ringfence(&["status"])).stdout;
    let words = " disk: refused the VMM 2 times: RF0201 malformed message; first: ";
    assert!(table.contains(words) && table.contains("; last: "), "{table}");
    let (code, said) = fence.stop();
    assert_eq!(code, Some(1), "{said}");
}
