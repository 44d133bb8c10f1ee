//! The processes behind the sockets: the peer's backend, and our fence in front of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ringfence_vmm::child::describe_exit;
use ringfence_vmm::{Child, Spec};

use crate::case::Storage;
use crate::disk::Disk;
use crate::folder::Folder;

const PATIENCE: Duration = Duration::from_secs(10);
const WINDOW: &str = "64M";

/// An unmodified qemu-storage-daemon with two exports of one node: a socket for the client and a
/// socket for the fence, both served by one thread, so that both see the same backend.
pub(crate) struct Backend {
    _child: Child,
    /// Where the client connects to.
    pub(crate) direct: PathBuf,
    /// Where the fence connects to.
    pub(crate) behind: PathBuf,
}

impl Backend {
    /// Starts it on `storage`.
    pub(crate) fn start(storage: Storage, disk: &Disk, folder: &Folder) -> Result<Self> {
        let direct = folder.path().join(format!("{}-direct", storage.name()));
        let behind = folder.path().join(format!("{}-behind", storage.name()));
        let node = match storage {
            Storage::File => {
                format!("driver=file,node-name=disk,filename={},aio=threads", disk.path())
            }
            Storage::Null => {
                format!("driver=null-co,node-name=disk,size={},read-zeroes=off", disk.size())
            }
        };
        let export = |id: &str, socket: &Path| {
            format!(
                "type=vhost-user-blk,id={id},node-name=disk,addr.type=unix,addr.path={},\
                 writable=on,num-queues=1,iothread=thread",
                socket.display()
            )
        };
        let spec = Spec::new("qemu-storage-daemon", storage_daemon()).args([
            "--object".to_owned(),
            // No polling: the fence does not poll either, and two cores are few.
            "iothread,id=thread,poll-max-ns=0".to_owned(),
            "--blockdev".to_owned(),
            node,
            "--export".to_owned(),
            export("direct", &direct),
            "--export".to_owned(),
            export("behind", &behind),
        ]);
        let mut child = Child::spawn(spec)?;
        wait_for_socket(&mut child, &direct)?;
        wait_for_socket(&mut child, &behind)?;
        Ok(Self { _child: child, direct, behind })
    }
}

/// Our fence in front of a backend's socket.
pub(crate) struct Fence {
    child: Child,
    /// Where the client connects to.
    pub(crate) socket: PathBuf,
}

impl Fence {
    /// Starts `program` in front of `backend`.
    pub(crate) fn start(program: &Path, backend: &Path) -> Result<Self> {
        let socket = backend.with_extension("fenced");
        let spec = Spec::new("the fence", program).args([
            "fence".as_ref(),
            "vhost-user".as_ref(),
            "--listen".as_ref(),
            socket.as_os_str(),
            "--backend".as_ref(),
            backend.as_os_str(),
            "--window".as_ref(),
            WINDOW.as_ref(),
            "--quiet".as_ref(),
        ]);
        let mut child = Child::spawn(spec)?;
        wait_for_socket(&mut child, &socket)?;
        Ok(Self { child, socket })
    }

    /// Its process id.
    pub(crate) fn process(&self) -> i32 {
        self.child.pid().as_raw_pid()
    }

    /// Ends it the way a person would, and removes its socket. It must be content: a fence that
    /// refused anything did less than it was measured for.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.child.stop(PATIENCE)?;
        ensure!(status.success(), "the fence was not content: {}", describe_exit(status));
        match std::fs::remove_file(&self.socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.socket.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Our program, built for release if cargo started us; else the one beside us.
pub(crate) fn fence_program() -> Result<PathBuf> {
    let ourselves = std::env::current_exe().context("cannot tell where this program is")?;
    let program = ourselves.with_file_name("ringfence");
    if let Some(cargo) = std::env::var_os("CARGO") {
        let target = ourselves.parent().and_then(Path::parent).context("not in a target folder")?;
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--release", "--package", "ringfence", "--target-dir"])
            .arg(target)
            .arg("--manifest-path")
            .arg(ringfence_lab::workspace().join("Cargo.toml"))
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "cannot build the fence: {status}");
        return Ok(target.join("release/ringfence"));
    }
    ensure!(
        program.exists(),
        "{} is not there: build it with `cargo build --release -p ringfence`",
        program.display()
    );
    Ok(program)
}

/// The lab's qemu-storage-daemon if there is one, else the machine's.
pub(crate) fn storage_daemon() -> PathBuf {
    let name = "qemu-storage-daemon";
    ringfence_lab::root().and_then(|lab| lab.program(name)).unwrap_or_else(|_| name.into())
}

/// What a program says its version is: a result names what it was measured beside.
pub(crate) fn version(program: &Path) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or("unknown").trim().to_owned())
}

/// Waits until something listens on `socket`, without connecting: a backend takes one client.
fn wait_for_socket(child: &mut Child, socket: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() {
        if let Some(status) = child.wait_until(Instant::now() + Duration::from_millis(5))? {
            let how = describe_exit(status);
            bail!("{} ended before it listened: {how}", child.name());
        }
        ensure!(Instant::now() < deadline, "{} does not listen on its socket", child.name());
    }
    Ok(())
}

/// User and system time a process has spent so far, from `/proc/PID/stat`, in the kernel's ticks of 10 ms.
pub(crate) fn processor_time(pid: i32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th
    // fields after it.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(user.checked_add(system)?.checked_mul(10)?))
}
