//! The attack the project exists for: connected directly, a random-number device that reads along
//! finds the guest's secret; behind the fence it finds nothing, and the guest gets its random
//! numbers all the same.

use anyhow::{Result, ensure};
use ringfence_lab::root;
use ringfence_lab::spy::{Spy, new_secret, spied_upon};

use crate::PATIENCE;
use crate::fenced::Fence;

/// All of the window.
const WINDOW: &str = "1M";
const WINDOW_BYTES: u64 = 1 << 20;

/// All of the guest's memory.
const GUEST_BYTES: u64 = 512 << 20;

pub(crate) fn direct() -> Result<()> {
    let lab = root()?;
    let spy = Spy::start()?;
    let secret = new_secret()?;
    let console = spied_upon(&lab, &secret, spy.backend().socket(), PATIENCE)?;
    ensure!(console.value("random") == Some("1024"), "{console}");
    let found = spy.found()?;
    ensure!(found.texts.contains(&secret), "the attack does not work: {found:?}");
    ensure!(found.banner.is_some_and(|banner| banner.contains("6.12")), "no banner");
    ensure!(found.bytes_visible >= GUEST_BYTES, "it saw {} bytes only", found.bytes_visible);
    Ok(())
}

pub(crate) fn fenced() -> Result<()> {
    let lab = root()?;
    let spy = Spy::start()?;
    let fence = Fence::new(spy.backend().socket(), WINDOW)?;
    let secret = new_secret()?;
    let console = spied_upon(&lab, &secret, &fence.socket(), PATIENCE)?;
    ensure!(console.value("random") == Some("1024"), "{console}");
    fence.expect_clean("the spy")?;
    let found = spy.found()?;
    ensure!(found.texts.is_empty(), "the spy found {found:?}");
    ensure!(found.banner.is_none(), "the spy found {found:?}");
    ensure!(found.bytes_visible == WINDOW_BYTES, "it saw more than its window: {found:?}");
    ensure!(found.regions == 1, "it was handed more than its window: {found:?}");
    ensure!(found.vmm_addresses.len() == 1, "it was told addresses of the VMM's: {found:?}");
    fence.stop()
}
