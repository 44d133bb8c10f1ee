//! `ringfence fence vhost-user` as a fixture, alone or with a real backend behind it.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringfence_lab::{Backend, Scratch};
use ringfence_vmm::child::{Child, Spec};
use serde_json::Value;

/// A fence. Dropping it ends it.
pub(crate) struct Fence {
    // First, so that the process is gone before its folder goes.
    fence: Child,
    scratch: Scratch,
}

impl Fence {
    /// Puts a fence up in front of whatever listens at `backend`.
    pub(crate) fn new(backend: &Path, window: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        let log = std::fs::File::create(scratch.join("log"))?;
        let mut spec = Spec::new("the fence", env!("CARGO_BIN_EXE_ringfence")).args([
            "fence".into(),
            "vhost-user".into(),
            "--listen".into(),
            scratch.join("fence.sock").into_os_string(),
            "--status".into(),
            scratch.join("status.sock").into_os_string(),
            "--backend".into(),
            backend.into(),
            "--window".into(),
            window.into(),
        ]);
        spec.stdout = Stdio::from(log.try_clone()?);
        spec.stderr = Stdio::from(log);
        let fence = Child::spawn(spec).map_err(anyhow::Error::new)?;
        let fenced = Self { fence, scratch };
        let deadline = Instant::now() + Duration::from_secs(10);
        while fenced.status().is_err() {
            ensure!(Instant::now() < deadline, "the fence did not come up: {}", fenced.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(fenced)
    }

    /// Where a VMM connects.
    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.join("fence.sock")
    }

    /// What the fence says of itself.
    pub(crate) fn status(&self) -> Result<Value> {
        let mut stream = UnixStream::connect(self.scratch.join("status.sock"))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Everything served, nothing refused.
    pub(crate) fn expect_clean(&self, what: &str) -> Result<()> {
        let status = self.status()?;
        ensure!(status["refusals"] == 0, "{what}: something was refused: {status:#}");
        ensure!(status["requests"].as_u64() > Some(0), "{what}: nothing was served: {status:#}");
        Ok(())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    /// Ends it as a person would; it must take its sockets away.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.fence.stop(Duration::from_secs(5))?;
        ensure!(status.success(), "the fence ended with {status}: {}", self.log());
        for name in ["fence.sock", "status.sock"] {
            ensure!(!self.scratch.join(name).exists(), "the fence left {name} behind");
        }
        Ok(())
    }
}

/// A backend behind a fence of its own.
pub(crate) struct Fenced {
    pub(crate) fence: Fence,
    backend: Backend,
}

impl Fenced {
    pub(crate) fn new(backend: Backend, window: &str) -> Result<Self> {
        Ok(Self { fence: Fence::new(backend.socket(), window)?, backend })
    }

    /// Ends both in good order, so that what the backend keeps in memory reaches its files.
    pub(crate) fn stop(self) -> Result<()> {
        self.fence.stop()?;
        self.backend.stop()
    }
}

/// A disk image of `bytes` whose first half holds random data, and its sha256.
pub(crate) fn random_image(folder: &Path, name: &str, bytes: u64) -> Result<(PathBuf, String)> {
    let image = folder.join(name);
    let half = usize::try_from(bytes / 2)?;
    let mut content = vec![0; half];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut content)?;
    std::fs::write(&image, &content)?;
    let file = std::fs::File::options().write(true).open(&image)?;
    file.set_len(bytes).context("cannot size a disk image")?;
    let sum = sha256(&image)?;
    Ok((image, sum))
}

/// The sha256 of a file, as the guest's own tool computes it.
pub(crate) fn sha256(file: &Path) -> Result<String> {
    let output = std::process::Command::new("sha256sum").arg(file).output()?;
    ensure!(output.status.success(), "cannot sum {}", file.display());
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}
