//! From a path of device numbers to a function, given the buses behind bridges.

use std::fmt;

use ringfence_addr::PciAddress;

/// What of a host's topology it takes to follow a path.
pub trait Buses {
    /// The secondary and the subordinate bus number of a bridge; none if there is no such bridge, or
    /// its registers are not known.
    fn behind(&self, bridge: PciAddress) -> Option<(u8, u8)>;
}

impl<F: Fn(PciAddress) -> Option<(u8, u8)>> Buses for F {
    fn behind(&self, bridge: PciAddress) -> Option<(u8, u8)> {
        self(bridge)
    }
}

/// A way down the tree of buses. Bus numbers below the first are what the host gave out at the time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopePath {
    /// The PCI segment.
    pub segment: u16,
    /// The bus it starts from.
    pub start_bus: u8,
    /// Device and function numbers: bridges, and a last one.
    pub hops: Vec<[u8; 2]>,
}

impl ScopePath {
    /// The function at its end.
    ///
    /// None if a bridge on the way is not known, or a number in it is none of a function.
    pub fn resolve(&self, buses: &impl Buses) -> Option<PciAddress> {
        let mut bus = self.start_bus;
        let (last, bridges) = self.hops.split_last()?;
        for hop in bridges {
            bus = buses.behind(self.hop(bus, *hop)?)?.0;
        }
        self.hop(bus, *last)
    }

    /// The function at its end, if no bridge is on the way.
    pub fn direct(&self) -> Option<PciAddress> {
        self.resolve(&|_| None)
    }

    fn hop(&self, bus: u8, [device, function]: [u8; 2]) -> Option<PciAddress> {
        PciAddress::new(self.segment.into(), bus, device, function)
    }
}

/// `0000:00:1c.0`, and with bridges `0000:00:1c.0/00.0`.
impl fmt::Display for ScopePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04x}:{:02x}", self.segment, self.start_bus)?;
        for (index, [device, function]) in self.hops.iter().enumerate() {
            let mark = if index == 0 { ':' } else { '/' };
            write!(formatter, "{mark}{device:02x}.{function:x}")?;
        }
        Ok(())
    }
}
