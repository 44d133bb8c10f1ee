//! The process next door, with everything a jailed process must not reach: run by the same user, as
//! a fence is run by the same user as its backend.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};

/// What the sibling keeps in its memory, its environment and its files.
pub(crate) const SECRET: &str = "the sibling's secret";

/// The variable that holds it, too.
const VARIABLE: &str = "RINGFENCE_TEST_SECRET";

/// What there is to be reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sibling {
    pub(crate) pid: i32,
    /// Where in its memory the secret is.
    pub(crate) address: usize,
    /// Its descriptor of the secret file.
    pub(crate) descriptor: i32,
    pub(crate) tcp: u16,
    pub(crate) udp: u16,
    pub(crate) abstract_name: String,
    pub(crate) socket: PathBuf,
    /// A folder that is nobody's in the jail, with a file `secret`.
    pub(crate) folder: PathBuf,
    /// A folder that is granted.
    pub(crate) own: PathBuf,
    /// The id of shared memory, if it could make any.
    pub(crate) shared_memory: Option<String>,
    /// A file of POSIX shared memory with the secret.
    pub(crate) posix_memory: PathBuf,
}

impl Sibling {
    pub(crate) fn secret(&self) -> PathBuf {
        self.folder.join("secret")
    }
}

/// The sibling running. Dropping it ends it.
pub(crate) struct Running {
    child: Child,
    pub(crate) said: Sibling,
}

impl Running {
    pub(crate) fn start(folder: &Path) -> std::io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["be-the-sibling", &folder.to_string_lossy()])
            .env(VARIABLE, SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line)?;
        Ok(Self { child, said: serde_json::from_str(&line)? })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The end of its input is the end of it; it takes away what it made.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Is the sibling until its input ends.
pub(crate) fn be(folder: &str) -> ExitCode {
    let folder = PathBuf::from(folder);
    let secret = SECRET.to_owned();
    let file = std::fs::File::open(folder.join("secret")).expect("the secret file");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a TCP port");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a UDP port");
    let abstract_name = format!("ringfence-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&abstract_name).expect("a name");
    let by_name = UnixListener::bind_addr(&address).expect("an abstract socket");
    let socket = folder.join("socket");
    let by_path = UnixListener::bind(&socket).expect("a socket");
    let posix_memory = PathBuf::from(format!("/dev/shm/ringfence-test-{}", std::process::id()));
    std::fs::write(&posix_memory, SECRET).expect("POSIX shared memory");
    let shared_memory = make_shared_memory();
    let said = Sibling {
        pid: i32::try_from(std::process::id()).expect("a process id"),
        address: secret.as_ptr() as usize,
        descriptor: file.as_raw_fd(),
        tcp: tcp.local_addr().expect("a port").port(),
        udp: udp.local_addr().expect("a port").port(),
        abstract_name,
        socket,
        own: folder.with_extension("own"),
        folder,
        shared_memory: shared_memory.clone(),
        posix_memory: posix_memory.clone(),
    };
    println!("{}", serde_json::to_string(&said).expect("plain data"));
    let hello = |stream: &mut dyn Write| drop(stream.write_all(SECRET.as_bytes()));
    std::thread::spawn(move || tcp.incoming().flatten().for_each(|mut one| hello(&mut one)));
    std::thread::spawn(move || by_name.incoming().flatten().for_each(|mut one| hello(&mut one)));
    std::thread::spawn(move || by_path.incoming().flatten().for_each(|mut one| hello(&mut one)));
    std::thread::spawn(move || {
        let mut piece = [0; 16];
        while let Ok((_, from)) = udp.recv_from(&mut piece) {
            let _ = udp.send_to(SECRET.as_bytes(), from);
        }
    });
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let _ = std::fs::remove_file(posix_memory);
    if let Some(id) = shared_memory {
        let _ = Command::new("ipcrm").args(["-m", &id]).status();
    }
    drop((file, secret));
    ExitCode::SUCCESS
}

/// System V shared memory, by the tool for it.
fn make_shared_memory() -> Option<String> {
    let output = Command::new("ipcmk").args(["-M", "4096"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().rsplit(' ').next()?.to_owned())
}
