//! The kernel's news of PCI devices: what came, what went, what was bound.
//!
//! They say when to look, and no more: what they say is not believed, and news that were lost
//! (`ENOBUFS`) are as good as any.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ringfence_refusal::Fault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};

/// The multicast group of the kernel's own news; those of udev are in another.
const KERNEL_NEWS: u32 = 1;

/// The kernel's news are shorter (`UEVENT_BUFFER_SIZE` and a path).
const NEWS_MAX: usize = 8 << 10;

/// How many are taken at a time: somebody else may be making them as fast as they are taken.
const TAKEN_MAX: usize = 4096;

/// The news of the kernel this runs on.
#[derive(Debug)]
pub struct News(OwnedFd);

impl News {
    /// Listens from now on. A network namespace other than the first hears of no device.
    pub fn listen() -> Result<Self, Fault> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::RAW;
        let news = socket_with(AddressFamily::NETLINK, kind, flags, Some(KOBJECT_UEVENT));
        let news = news.map_err(fault)?;
        bind(&news, &SocketAddrNetlink::new(0, KERNEL_NEWS)).map_err(fault)?;
        Ok(Self(news))
    }

    /// Waits until there are some of PCI devices, or so long. Whether there were.
    pub fn wait(&self, patience: Duration) -> Result<bool, Fault> {
        let deadline = Instant::now() + patience;
        loop {
            if self.take()? {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(fault(errno)),
            }
        }
    }

    /// Takes those there are. Whether any may be of a PCI device.
    pub fn take(&self) -> Result<bool, Fault> {
        let mut is_pci = false;
        let mut buffer = [0; NEWS_MAX];
        for _ in 0..TAKEN_MAX {
            match recvfrom(&self.0, &mut buffer, RecvFlags::empty()) {
                Ok((length, _, _)) => is_pci |= is_of_pci(&buffer[..length]),
                // Too many to be kept for us.
                Err(Errno::NOBUFS) => is_pci = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(fault(errno)),
            }
        }
        Ok(is_pci)
    }
}

impl AsFd for News {
    /// Readable when there are some, of whichever devices.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn fault(errno: Errno) -> Fault {
    Fault::new("wait for", "the kernel's news of devices", errno)
}

fn is_of_pci(news: &[u8]) -> bool {
    news.split(|byte| *byte == 0).any(|field| field == b"SUBSYSTEM=pci")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_pci_are_known_by_their_subsystem() {
        assert!(is_of_pci(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=pci\0SEQNUM=1\0"));
        assert!(!is_of_pci(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=pci_express\0"));
        assert!(!is_of_pci(b"libudev\0\xfe\xed\xca\xfe"));
        assert!(!is_of_pci(b""));
    }
}
