//! Sockets of others.

use std::io::Read;
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, socket};

use super::{Way, expect, expect_secret};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

fn read(mut stream: impl Read) -> std::io::Result<()> {
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    expect_secret(text)
}

pub(super) const WAYS: &[Way] = &[
    ("connect by TCP", |sibling| read(TcpStream::connect(("127.0.0.1", sibling.tcp))?)),
    ("ask by UDP", |sibling| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(PATIENCE)?;
        socket.send_to(b"hello", ("127.0.0.1", sibling.udp))?;
        let mut text = [0; 64];
        let length = socket.recv(&mut text)?;
        expect_secret(&text[..length])
    }),
    ("connect to an abstract socket", |sibling| {
        let address = SocketAddr::from_abstract_name(&sibling.abstract_name)?;
        read(UnixStream::connect_addr(&address)?)
    }),
    ("connect to a socket by its path", |sibling| read(UnixStream::connect(&sibling.socket)?)),
    ("see who listens on the host", |sibling| {
        let sockets = std::fs::read_to_string("/proc/net/tcp")?;
        expect(sockets.contains(&format!(":{:04X} ", sibling.tcp)), "it is not there")
    }),
    ("read packets off the wire", |_| {
        Ok(socket(AddressFamily::PACKET, SocketType::RAW, None).map(drop)?)
    }),
];
