//! A claim, watched: what came into the group that nobody asked for.
//!
//! Overrides keep other drivers away from the functions there are. They do not keep a card from
//! being plugged in beside them, nor an operator from binding what he likes. So the kernel's news of
//! PCI devices wakes the watch, and each time it reads again what is so; what the news say is not
//! believed, and news that were lost (`ENOBUFS`) are as good as any.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ringfence_addr::PciAddress;
use ringfence_refusal::Fault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};

use crate::accepted::is_accepted;
use crate::examine::kernel_groups;
use crate::manager::Claim;
use crate::member::{Member, identity_of};
use crate::plan::ClaimPlan;
use crate::root::{Root, entries, whole_address};

/// The multicast group of the kernel's own news; those of udev are in another.
const KERNEL_NEWS: u32 = 1;

/// The kernel's news are shorter (`UEVENT_BUFFER_SIZE` and a path).
const NEWS_MAX: usize = 8 << 10;

/// Something about a claimed group that is not as it was claimed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// A function has another driver than it was claimed with.
    Driver {
        /// The function.
        function: PciAddress,
        /// The driver it has.
        driver: Option<String>,
        /// The driver it was claimed with.
        expected: Option<String>,
    },
    /// The override that keeps other drivers from a function is gone or says something else.
    Override {
        /// The function.
        function: PciAddress,
        /// What it says.
        says: Option<String>,
    },
    /// A function that is in no claim of ours has come into the group.
    Newcomer {
        /// The function.
        function: PciAddress,
        /// The driver it has.
        driver: Option<String>,
    },
    /// A function is gone, or another is in its place.
    Gone {
        /// Where it was.
        function: PciAddress,
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |driver: &Option<String>| driver.clone().unwrap_or("no driver".to_string());
        match self {
            Self::Driver { function, driver, expected } => {
                let (driver, expected) = (name(driver), name(expected));
                write!(formatter, "{function} is bound to {driver}; it was claimed for {expected}")
            }
            Self::Override { function, says } => {
                let says = says.as_deref().unwrap_or("nothing");
                write!(formatter, "the override of {function} says {says}: any driver may take it")
            }
            Self::Newcomer { function, driver } => {
                write!(formatter, "{function} ({}) has come into the group", name(driver))?;
                if driver.as_deref().is_some_and(|driver| !is_accepted(driver)) {
                    write!(formatter, ": the kernel gives the group to nobody until it is out")?;
                }
                Ok(())
            }
            Self::Gone { function } => write!(formatter, "{function} is gone, or is another now"),
        }
    }
}

/// What is not as it was claimed, read now.
pub fn breaches(root: &Root, plan: &ClaimPlan) -> Result<Vec<Breach>, Fault> {
    let mut breaches = Vec::new();
    for member in &plan.members {
        let function = member.address;
        if identity_of(root, function)? != Some(member.identity) {
            breaches.push(Breach::Gone { function });
            continue;
        }
        let driver = root.driver_of(function)?;
        let expected = plan.driver_after(member);
        if driver.as_deref() != expected {
            let expected = expected.map(str::to_string);
            breaches.push(Breach::Driver { function, driver, expected });
        }
        let says = root.override_of(function)?;
        if says.as_deref() != plan.override_after(member) {
            breaches.push(Breach::Override { function, says });
        }
    }
    for function in newcomers(root, &plan.members)? {
        let driver = root.driver_of(function)?;
        breaches.push(Breach::Newcomer { function, driver });
    }
    breaches.sort();
    Ok(breaches)
}

/// Functions that are in the members' groups by the kernel's reckoning and not among them; and those
/// in their slots or right below their bridges that the kernel has put in no group (yet). One that
/// it has put in another group was kept out of the claim, too.
fn newcomers(root: &Root, members: &[Member]) -> Result<Vec<PciAddress>, Fault> {
    let mut newcomers = Vec::new();
    for group in kernel_groups(members).into_keys() {
        newcomers.extend(root.functions_of(group)?);
    }
    for name in entries(&root.join("sys/bus/pci/devices"))? {
        let Some(address) = whole_address(&name) else { continue };
        let slot = |address: PciAddress| (address.domain(), address.bus(), address.device());
        let is_near = members.iter().any(|member| slot(member.address) == slot(address))
            || is_below(root, address, members)?;
        if is_near && root.kernel_group_of(address)?.is_none() {
            newcomers.push(address);
        }
    }
    newcomers.retain(|function| !members.iter().any(|member| member.address == *function));
    newcomers.sort_unstable();
    newcomers.dedup();
    Ok(newcomers)
}

/// Whether the function is below one of the members.
fn is_below(root: &Root, address: PciAddress, members: &[Member]) -> Result<bool, Fault> {
    let above = root.functions_above(&root.function(address))?;
    Ok(above
        .iter()
        .any(|above| *above != address && members.iter().any(|member| member.address == *above)))
}

/// A claim being watched.
#[derive(Debug)]
pub struct Watch {
    root: Root,
    claim: Claim,
    news: OwnedFd,
}

impl Watch {
    /// Watches a claim on the host at `root`. The news are those of the kernel this runs on.
    pub fn new(root: &Root, claim: Claim) -> Result<Self, Fault> {
        let fault = |errno: Errno| Fault::new("listen to", "the kernel's news of devices", errno);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::RAW;
        let news = socket_with(AddressFamily::NETLINK, kind, flags, Some(KOBJECT_UEVENT));
        let news = news.map_err(fault)?;
        bind(&news, &SocketAddrNetlink::new(0, KERNEL_NEWS)).map_err(fault)?;
        Ok(Self { root: root.clone(), claim, news })
    }

    /// What is not as it was claimed, now.
    pub fn breaches(&self) -> Result<Vec<Breach>, Fault> {
        breaches(&self.root, &self.claim.plan)
    }

    /// Waits until the kernel has news of PCI devices, or so long, and reads what is not as it was
    /// claimed.
    pub fn wait(&self, patience: Duration) -> Result<Vec<Breach>, Fault> {
        let fault = |errno: Errno| Fault::new("wait for", "the kernel's news of devices", errno);
        let deadline = Instant::now() + patience;
        loop {
            if self.take_news().map_err(fault)? {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.news, PollFlags::IN)], timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(fault(errno)),
            }
        }
        self.breaches()
    }

    /// Takes all news there are. Whether any may be of a PCI device.
    fn take_news(&self) -> Result<bool, Errno> {
        let mut is_pci = false;
        let mut buffer = [0; NEWS_MAX];
        loop {
            match recvfrom(&self.news, &mut buffer, RecvFlags::empty()) {
                Ok((length, _, _)) => is_pci |= is_of_pci(&buffer[..length]),
                // Too many to be kept for us.
                Err(Errno::NOBUFS) => is_pci = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(is_pci),
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl AsFd for Watch {
    /// Readable when the kernel has news; then [`Watch::wait`] without patience reads them.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
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
