//! A spy among the guest's devices, with and without a fence.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use ringfence_lab::spy::{Found, Spy, new_secret, spied_upon};
use ringfence_lab::{Backend, LabRoot};

use super::{Outcome, mebibytes, say};

/// A guest under emulation takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) fn directly(lab: &LabRoot) -> Result<Outcome> {
    let spy = Spy::start()?;
    let secret = new_secret()?;
    say("the guest boots, reads a secret from its disk, and takes random numbers from the spy");
    spied_upon(lab, &secret, spy.backend().socket(), PATIENCE)?;
    let found = spy.found()?;
    ensure!(found.texts.contains(&secret), "the spy missed the secret: {found:?}");
    say(&format!("the secret was {secret}; the spy read it out of the guest's memory"));
    if let Some(banner) = &found.banner {
        say(&format!("it also read: {banner}..."));
    }
    Ok(outcome(&found, format!("the secret, {secret}")))
}

pub(super) fn fenced(lab: &LabRoot, ringfence: &Path) -> Result<Outcome> {
    let spy = Spy::start()?;
    let fence = Backend::start(ringfence, "fence.sock", |socket| {
        let words = ["fence", "vhost-user", "--window", "1M", "--listen"];
        let mut arguments: Vec<OsString> = words.map(OsString::from).into();
        arguments.push(socket.into());
        arguments.extend(["--backend".into(), spy.backend().socket().into()]);
        arguments
    })?;
    let secret = new_secret()?;
    say("the same guest with another secret; it gets its random numbers as before");
    spied_upon(lab, &secret, fence.socket(), PATIENCE)?;
    let found = spy.found()?;
    let nothing = found.texts.is_empty() && found.banner.is_none();
    ensure!(nothing, "the spy found something: {found:?}");
    fence.stop()?;
    say(&format!("the secret was {secret}; the spy found nothing"));
    Ok(outcome(&found, "nothing".to_owned()))
}

fn outcome(seen: &Found, found: String) -> Outcome {
    Outcome { could_see: format!("{} of memory", mebibytes(seen.bytes_visible)), found }
}
