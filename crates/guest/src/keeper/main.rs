//! Devices let at memory through real VFIO, by an account and without one, in a lab's host.
//!
//! `keeper CASE` prints what happened, a line for each thing that was tried; what should have is the
//! test's to know. The functions must be claimed: `0000:00:02.0`, which writes (`iommu-testdev`), and
//! `0000:00:03.0`, which copies (`edu`).

mod bad_input;
mod copier;
mod cost;
mod deadline;
mod deaths;
mod kills;
mod limit;
mod opened;
mod owned;
mod parts;
mod pins;
mod reach;
mod shared;
mod split;
mod told;
mod top;
mod world;
mod writer;

use std::process::ExitCode;

use ringfence_device::become_writer_if_asked;

fn main() -> ExitCode {
    become_writer_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["reach"] => reach::run(),
        ["bad-input"] => bad_input::run(),
        ["split"] => split::run(),
        ["top"] => top::run(),
        ["limit"] => limit::run(),
        ["parts"] => parts::run(),
        ["deadline"] => deadline::run(),
        ["deaths"] => deaths::run(),
        ["wait"] => deaths::wait(),
        ["kills"] => kills::run(),
        ["life", container, journal, memory, step] => kills::life(container, journal, memory, step),
        ["cost"] => cost::run(),
        _ => Err("which case?".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("keeper: {message}");
            ExitCode::FAILURE
        }
    }
}
