//! A claim, held: the group is open, and the kernel itself turns down other drivers.
//!
//! For as long as a [`Hold`] lives. Through the group interface the group is in a container of ours;
//! through iommufd, which kernels with it offer beside, each function is bound to one iommufd of
//! ours, and in an address space there. Nothing is mapped: a function in a group held so reaches no memory
//! at all.
//!
//! What is held opens once only. A VM that is to have it gets the descriptors from the holder.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use ringfence_addr::PciAddress;
use ringfence_iommu::{Iommufd, IommufdDevice};
use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::io::Errno;

use crate::accepted::serves_vfio;
use crate::claim::Claim;
use crate::errno::{Call, causes, name};
use crate::examine::kernel_groups;
use crate::journal::Journal;
use crate::plan::ClaimPlan;
use crate::refusals;
use crate::root::{Root, entries};
use crate::vfio_sys;
use crate::viability::blockers;

/// A claim whose groups are open.
#[derive(Debug)]
pub struct Hold {
    claim: Claim,
    held: Vec<Held>,
    // Its lock keeps others from releasing what is held.
    _journal: Journal,
}

/// One thing that is open.
#[derive(Debug)]
pub enum Held {
    /// A group in a container.
    Group {
        /// The kernel's number of the group.
        group: u32,
        /// `/dev/vfio/N`.
        file: File,
        /// `/dev/vfio/vfio`.
        container: File,
    },
    /// A function bound to an iommufd.
    Device {
        /// The function.
        function: PciAddress,
        /// `/dev/vfio/devices/vfioN`.
        file: File,
        /// `/dev/iommu`: the same for all functions of a claim.
        iommufd: File,
    },
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Group { file, .. } | Self::Device { file, .. } => file.as_fd(),
        }
    }
}

impl Hold {
    pub(crate) fn open(root: &Root, claim: Claim, journal: Journal) -> Result<Self, Failure> {
        let held = if root.join("dev/vfio/vfio").exists() {
            groups(root, &claim.plan)?
        } else {
            devices(root, &claim.plan)?
        };
        if held.is_empty() {
            let what = format!("claim {} has no function that VFIO serves", claim.name);
            return Err(Refusal::new(&refusals::NOT_VIABLE, what).into());
        }
        Ok(Self { claim, held, _journal: journal })
    }

    /// The claim that is held.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Whether any of what is open is still the claim's. Functions that were all pulled out and plugged
    /// in again are in a new group, which nobody holds.
    pub(crate) fn is_good(&self, root: &Root) -> Result<bool, Fault> {
        for held in &self.held {
            let is_of_it = match held {
                Held::Group { group, .. } => {
                    let functions = root.functions_of(*group)?;
                    functions.iter().any(|function| self.claim.plan.member(*function).is_some())
                }
                Held::Device { function, .. } => {
                    root.driver_of(*function)?.as_deref().is_some_and(serves_vfio)
                }
            };
            if is_of_it {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What is open.
    pub fn held(&self) -> &[Held] {
        &self.held
    }
}

/// Members that VFIO serves, each with its group: a group of bridges alone cannot be opened.
fn served(root: &Root, plan: &ClaimPlan) -> Result<Vec<(u32, PciAddress)>, Fault> {
    let mut served = Vec::new();
    for member in &plan.members {
        let driver = root.driver_of(member.address)?;
        if driver.as_deref().is_some_and(serves_vfio) {
            served.extend(member.kernel_group.map(|group| (group, member.address)));
        }
    }
    Ok(served)
}

fn groups(root: &Root, plan: &ClaimPlan) -> Result<Vec<Held>, Failure> {
    let served = served(root, plan)?;
    let mut held = Vec::new();
    for (group, first) in kernel_groups(&plan.members) {
        if !served.iter().any(|(number, _)| *number == group) {
            continue;
        }
        let refuse = |call, errno| refuse(root, group, first, call, errno);
        let file = open(&root.join(format!("dev/vfio/{group}")))
            .map_err(|errno| refuse(Call::OpenGroup, errno))?;
        if !vfio_sys::is_viable(&file).map_err(|errno| refuse(Call::SetContainer, errno))? {
            return Err(refuse(Call::SetContainer, Errno::PERM));
        }
        let container = open(&root.join("dev/vfio/vfio"))
            .map_err(|errno| Fault::new("open", "/dev/vfio/vfio", errno))?;
        vfio_sys::set_container(&file, &container)
            .map_err(|errno| refuse(Call::SetContainer, errno))?;
        held.push(Held::Group { group, file, container });
    }
    Ok(held)
}

fn devices(root: &Root, plan: &ClaimPlan) -> Result<Vec<Held>, Failure> {
    let iommufd =
        open(&root.join("dev/iommu")).map_err(|errno| Fault::new("open", "/dev/iommu", errno))?;
    let copy =
        |file: &File| file.try_clone().map_err(|error| Fault::new("keep", "/dev/iommu", error));
    let spaces = Iommufd::of(copy(&iommufd)?)?;
    let mut held = Vec::new();
    for (group, function) in served(root, plan)? {
        let refuse = |call, errno| refuse(root, group, function, call, errno);
        let names = entries(&root.function(function).join("vfio-dev"))?;
        let Some(name) = names.first() else {
            return Err(refuse(Call::OpenDevice, Errno::NOENT));
        };
        let file = open(&root.join("dev/vfio/devices").join(name))
            .map_err(|errno| refuse(Call::OpenDevice, errno))?;
        vfio_sys::bind_iommufd(&file, iommufd.as_fd())
            .map_err(|errno| refuse(Call::BindIommufd, errno))?;
        // Bound is not enough: with Linux 6.12 a device behind AMD's IOMMU, as QEMU has it, reaches
        // everything until it is given tables, empty ones here.
        IommufdDevice::bound(copy(&file)?, function.to_string(), &spaces)?;
        held.push(Held::Device { function, file, iommufd: copy(&iommufd)? });
    }
    Ok(held)
}

fn open(path: &Path) -> Result<File, Errno> {
    let opened = File::options().read(true).write(true).open(path);
    opened.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// What the kernel said, what it means, and who is in the way if that can be seen.
fn refuse(root: &Root, group: u32, function: PciAddress, call: Call, errno: Errno) -> Failure {
    let blockers = match blockers(root, group) {
        Ok(blockers) => blockers,
        Err(fault) => return fault.into(),
    };
    let mut what = format!("group {group} of {function}: {call}: {}", name(errno));
    if blockers.is_empty() {
        for cause in causes(call, errno) {
            what.push_str(&format!("; {} {}", cause.sentence, cause.remedy));
        }
    }
    for blocker in blockers {
        what.push_str(&format!("; {blocker}"));
    }
    Refusal::new(&refusals::NOT_VIABLE, what).into()
}
