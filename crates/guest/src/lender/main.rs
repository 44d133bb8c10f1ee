//! Serves a function of a lab's host over vfio-user, and drives it as a VMM and a guest would.
//!
//! `lender scenes ADDRESS` serves a claimed `edu` and prints a line for each thing tried, `WHAT: OUTCOME`.
//! `lender serve ADDRESS SOCKET MIB` serves it to one VMM, whose VM has so much memory from address 0 on.
//! `lender client SOCKET MEMORY` is a VMM that maps a file, sets the function going, says so and stays.

mod client;
mod edu;
mod host;
mod scenes;
mod visit;

use std::path::Path;
use std::process::ExitCode;

use ringfence_device::become_writer_if_asked;

fn main() -> ExitCode {
    become_writer_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["scenes", address] => scenes::all(address),
        ["serve", address, socket, mebibytes] => {
            visit::serve(address, Path::new(socket), mebibytes)
        }
        ["client", socket, memory] => scenes::stay(Path::new(socket), Path::new(memory)),
        _ => Err("usage: lender scenes ADDRESS | serve ADDRESS SOCKET MIB | client SOCKET MEMORY"
            .to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("lender: {message}");
            ExitCode::FAILURE
        }
    }
}
