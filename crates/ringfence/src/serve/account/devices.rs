//! Holders' devices: functions of claims that the service holds.
//!
//! **Invariant:** a holder gets its function's registers and interrupts and no way to map anything; of one
//! group there is one holder at a time, since what is mapped for one function of it is for all.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ringfence_addr::PciAddress;
use ringfence_device::{BusMaster, Lent};
use ringfence_iommu::Type1;
use ringfence_iommu::service::{Devices, Opened};
use ringfence_ledger::Holder;
use ringfence_refusal::{Failure, Fault, Refusal};

use super::keeping::Keeping;
use crate::refusals;
use crate::serve::answering::Desk;

pub(super) struct Claimed {
    desk: Arc<Desk>,
    keeping: Keeping,
    /// The group of the device that was opened last.
    opened: Option<u32>,
    lent: BTreeMap<Holder, u32>,
}

impl Claimed {
    pub(super) fn new(desk: Arc<Desk>, keeping: Keeping) -> Self {
        Self { desk, keeping, opened: None, lent: BTreeMap::new() }
    }
}

impl Devices for Claimed {
    fn open(&mut self, name: &str) -> Result<Opened, Failure> {
        let address: PciAddress = name.parse().map_err(|error| {
            let shown = crate::talk::printable(name);
            Refusal::new(&refusals::NOT_A_REQUEST, format!("`{shown}`: {error}"))
        })?;
        let Lent { function, container, group } = self.desk.lend(address)?;
        expect_free(&self.lent, group, address)?;
        let fault = |error| Fault::new("keep", address.to_string(), error);
        let copy = |file: &std::fs::File| file.try_clone().map(OwnedFd::from).map_err(fault);
        let kept = vec![copy(&container)?, copy(&function)?];
        let mut domain = Type1::of(container)?;
        domain.set_switch(Box::new(BusMaster::of(copy(&function)?)?));
        self.opened = Some(group);
        Ok(Opened { domain: Box::new(domain), descriptors: vec![function.into()], kept })
    }

    fn keep(&mut self, holder: Holder, kept: &[OwnedFd]) -> Result<(), Failure> {
        if let Some(group) = self.opened.take() {
            self.lent.insert(holder, group);
        }
        self.keeping.keep(holder, kept)
    }

    fn let_go(&mut self, holder: Holder) {
        self.lent.remove(&holder);
        self.keeping.let_go(holder);
    }
}

fn expect_free(
    lent: &BTreeMap<Holder, u32>,
    group: u32,
    address: PciAddress,
) -> Result<(), Refusal> {
    match lent.iter().find(|(_, lent)| **lent == group) {
        Some((holder, _)) => {
            let detail = format!("{address}: its group {group} is {holder}'s");
            Err(Refusal::new(&refusals::LENT_ALREADY, detail))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_group_there_is_one_holder() {
        let lent = BTreeMap::from([(Holder::from_number(7), 12)]);
        let address = "0000:01:00.1".parse().expect("an address");
        assert_eq!(expect_free(&lent, 13, address), Ok(()));
        let refused = expect_free(&lent, 12, address).expect_err("it is lent");
        assert_eq!(refused.code(), &refusals::LENT_ALREADY);
    }
}
