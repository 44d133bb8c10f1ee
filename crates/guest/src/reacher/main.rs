//! Has devices of a lab's host reach memory through iommufd, and says what they could do.
//!
//! `reacher SCENE WRITER READER` plays one scene ([`scenes`]) with two claimed functions: QEMU's
//! `iommu-testdev`, which writes, and `edu`, which reads. What it finds it prints as `name=value`, one a
//! line: whether that is as it should be is for the test to say.

mod devices;
mod limits;
mod scenes;
mod stage;

use std::process::ExitCode;

use ringfence_device::become_writer_if_asked;

fn main() -> ExitCode {
    become_writer_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [scene, writer, reader] => scenes::play(scene, writer, reader),
        _ => Err("usage: reacher SCENE WRITER READER".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("reacher: {message}");
            ExitCode::FAILURE
        }
    }
}
