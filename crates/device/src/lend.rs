//! A function of a held claim for an account that maps memory for it: its file for whoever drives it, and
//! its group's container for whoever maps.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use ringfence_addr::PciAddress;
use ringfence_iommu::Switch;
use ringfence_refusal::{Failure, Fault, Refusal};

use crate::hold::{Held, Hold};
use crate::keeper::Keeper;
use crate::refusals;
use crate::root::Root;
use crate::vfio_sys;

/// Offset of the command register, and its bit for starting transactions (PCI Local Bus 3.0, 6.2.2).
const COMMAND: u64 = 0x04;
const BUS_MASTER: u16 = 1 << 2;
/// `VFIO_PCI_CONFIG_REGION_INDEX`.
const CONFIG: u32 = 7;

/// A function that was lent.
#[derive(Debug)]
pub struct Lent {
    /// The function: its registers and interrupts. Nothing can be mapped by it.
    pub function: File,
    /// The container of its group, by which memory is mapped for every function in it.
    pub container: File,
    /// The kernel's number of the group: what is mapped for one function of it is for all.
    pub group: u32,
}

impl Hold {
    /// Lends a function of the claim.
    ///
    /// # Errors
    ///
    /// `RF0717` when it is not one of the claim's that VFIO serves, or is held by iommufd; the kernel says
    /// no.
    pub fn lend(&self, root: &Root, function: PciAddress) -> Result<Lent, Failure> {
        let file = self.file_of(root, function)?;
        let number = root.kernel_group_of(function)?;
        for held in self.held() {
            let Held::Group { group, container, .. } = held else { continue };
            if Some(*group) == number {
                let copy = container.try_clone();
                let container =
                    copy.map_err(|error| Fault::new("keep", function.to_string(), error))?;
                return Ok(Lent { function: file, container, group: *group });
            }
        }
        let what = format!("{function} is held by iommufd: nothing is mapped for it yet");
        Err(Refusal::new(&refusals::NOT_VIABLE, what).into())
    }
}

impl Keeper {
    /// Lends a function of a claim that is held.
    ///
    /// # Errors
    ///
    /// As of [`Hold::lend`]; `RF0717`, too, when it is in no claim, or in one that is only watched.
    pub fn lend(&self, root: &Root, function: PciAddress) -> Result<Lent, Failure> {
        let of_it = |kept: &&crate::keeper::Kept| kept.claim().plan.member(function).is_some();
        let Some(kept) = self.kept().find(of_it) else {
            let what = format!("{function} is in no claim: claim it first");
            return Err(Refusal::new(&refusals::NOT_VIABLE, what).into());
        };
        let Some(hold) = kept.held() else {
            let why = kept.reason().unwrap_or("it is to be watched only");
            let what = format!("{function}: claim {} is not held: {why}", kept.claim().name);
            return Err(Refusal::new(&refusals::NOT_VIABLE, what).into());
        };
        hold.lend(root, function)
    }
}

/// A function's bus master bit, by a file of the function's.
#[derive(Debug)]
pub struct BusMaster {
    function: File,
    /// Where the command register is in the file.
    command: u64,
}

impl BusMaster {
    /// That of an open function.
    ///
    /// # Errors
    ///
    /// It is no function of VFIO's.
    pub fn of(function: OwnedFd) -> Result<Self, Fault> {
        let function = File::from(function);
        let config = vfio_sys::region(&function, CONFIG)
            .map_err(|errno| Fault::new("ask VFIO for", "config space", errno))?;
        let command = config.offset.checked_add(COMMAND);
        let command = command.ok_or_else(|| {
            let errno = rustix::io::Errno::OVERFLOW;
            Fault::new("find", "the command register", errno)
        })?;
        Ok(Self { function, command })
    }

    fn read(&self) -> Result<u16, Fault> {
        let mut word = [0; 2];
        self.function
            .read_exact_at(&mut word, self.command)
            .map_err(|error| Fault::new("read", "the command register", error))?;
        Ok(u16::from_le_bytes(word))
    }
}

impl Switch for BusMaster {
    /// Believed when it reads as off. A process that has the function's file can turn it on again: its
    /// mappings go as well, always.
    fn off(&mut self) -> Result<(), Failure> {
        let off = self.read()? & !BUS_MASTER;
        self.function
            .write_all_at(&off.to_le_bytes(), self.command)
            .map_err(|error| Fault::new("write", "the command register", error))?;
        match self.read()? & BUS_MASTER {
            0 => Ok(()),
            _ => {
                let error = std::io::Error::other("bus mastering stays on");
                Err(Fault::new("cut off", "a function", error).into())
            }
        }
    }

    /// Its driver turns it on again, when it wants to.
    fn on(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
