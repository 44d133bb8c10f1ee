//! A spy: a random-number device that reads along.
//!
//! `spy SOCKET MARKER` serves random numbers over vhost-user, as it says, so that nobody is
//! surprised. Beside that it looks through everything it was handed, every memory region from the
//! first byte of its file to the last, for text that follows MARKER and for the kernel's banner. It
//! uses nothing but what any backend is given; there is no exploit in it. Once a second it prints
//! what it found so far as a line of JSON ([`find::Found`]).

mod device;
mod find;

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ringfence_virtio::connection::Connection;

use crate::device::Device;

/// How often it looks.
const PAUSE: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, marker] = arguments.as_slice() else {
        anyhow::bail!("usage: spy SOCKET MARKER");
    };
    let listener =
        UnixListener::bind(socket).with_context(|| format!("cannot listen on {socket}"))?;
    loop {
        let (stream, _) = listener.accept()?;
        let mut device = Device::new(Connection::new(stream, "VMM"));
        let mut next = Instant::now() + PAUSE;
        while device.serve(next)? {
            if Instant::now() >= next {
                report(&device, marker)?;
                next = Instant::now() + PAUSE;
            }
        }
        report(&device, marker)?;
    }
}

fn report(device: &Device, marker: &str) -> Result<()> {
    let found = find::look(device.regions(), marker.as_bytes());
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, &found)?;
    writeln!(output)?;
    output.flush()?;
    Ok(())
}
