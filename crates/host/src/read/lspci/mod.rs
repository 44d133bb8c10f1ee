//! What `lspci` prints: text (`-v` and up, with or without `-nn`, `-n`, `-D`, `-P`, `-PP`), and
//! hexadecimal config space (`-xxx`, `-xxxx`), in one file or mixed.
//!
//! Lines of the kernel's log that name groups (`pci 0000:00:01.0: Adding to iommu group 0`) are
//! taken from anywhere in the text: `lspci` before version 3.7 does not print groups itself.

mod details;
mod dump;
mod head;
mod names;
mod place;

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;
use ringfence_refusal::Refusal;

use crate::fact::{Fact, Unknown};
use crate::function::Function;
use crate::host::Host;
use crate::refusals::NOTHING_OF_A_HOST;

use super::virtual_functions;
use details::Details;
use dump::Dump;
use names::Names;
use place::Place;

/// Remarks about lines, at most; a file that is something else would have no end of them.
const MOST_REMARKS: usize = 16;

/// Reads what `lspci` printed.
///
/// # Errors
///
/// No line of it begins a function.
pub fn lspci(bytes: &[u8]) -> Result<Host, Refusal> {
    let text = String::from_utf8_lossy(bytes);
    let mut reading = Reading::default();
    for (number, line) in text.lines().enumerate() {
        reading.take(line.trim_end(), number + 1);
    }
    if reading.blocks.is_empty() {
        return Err(Refusal::new(
            &NOTHING_OF_A_HOST,
            format!(
                "{} lines of text, of which none begins as lspci does, such as \
                 \"00:01.0 PCI bridge: …\"",
                text.lines().count()
            ),
        ));
    }
    Ok(reading.finish())
}

/// One function, as printed.
struct Block<'a> {
    place: Place,
    head: &'a str,
    details: Details<'a>,
    dump: Dump,
}

#[derive(Default)]
struct Reading<'a> {
    blocks: Vec<Block<'a>>,
    logged_groups: BTreeMap<PciAddress, u32>,
    remarks: Vec<String>,
}

impl<'a> Reading<'a> {
    fn take(&mut self, line: &'a str, number: usize) {
        if let Some((place, head)) = place::split(line) {
            let (details, dump) = (Details::default(), Dump::default());
            self.blocks.push(Block { place, head, details, dump });
            return;
        }
        if let Some((address, group)) = logged_group(line) {
            self.logged_groups.insert(address, group);
            return;
        }
        let Some(block) = self.blocks.last_mut() else { return };
        if let Some((offset, digits)) = dump::split(line) {
            if !block.dump.take(offset, digits) && self.remarks.len() < MOST_REMARKS {
                self.remarks.push(format!("line {number}: a hexadecimal line out of order"));
            }
        } else {
            block.details.take(line);
        }
    }

    fn finish(self) -> Host {
        let mut host = Host { remarks: self.remarks, ..Host::default() };
        let names = Names::new();
        // The kernel makes config space 4 KiB for all functions that have as much, so in a listing
        // where one has, those with less have less.
        let shows_extended = self.blocks.iter().any(|block| block.dump.len() > 256);
        let mut buses = place::Buses::default();
        for block in self.blocks {
            let Some((address, above)) = buses.resolve(&block.place) else {
                if host.remarks.len() < MOST_REMARKS {
                    host.remarks.push(format!("{}: no bridge above it was listed", block.place));
                }
                continue;
            };
            let mut function = Function::new(address);
            function.path = above;
            head::describe(&mut function, block.head, &names);
            block.details.describe(&mut function);
            block.dump.describe(&mut function, shows_extended);
            if let Some(group) = self.logged_groups.get(&address) {
                function.kernel_group = Fact::Known(Some(*group));
            }
            buses.enter(&block.place, &function);
            if host.functions.insert(address, function).is_some()
                && host.remarks.len() < MOST_REMARKS
            {
                host.remarks.push(format!("{address} is listed twice; the last one counts"));
            }
        }
        say_none_where_others_have(&mut host);
        virtual_functions::assign(&mut host);
        host
    }
}

/// `lspci` leaves out what a function does not have. Where one function is shown with a group or a
/// driver, those without have none; where none is, it may be that nobody asked.
fn say_none_where_others_have(host: &mut Host) {
    let any_group = host.functions.values().any(|function| function.kernel_group.is_known());
    let any_driver = host.functions.values().any(|function| function.driver.is_known());
    for function in host.functions.values_mut() {
        if any_group && function.kernel_group == Fact::Unknown(Unknown::NotInSource) {
            function.kernel_group = Fact::Known(None);
        }
        if any_driver && function.driver == Fact::Unknown(Unknown::NotInSource) {
            function.driver = Fact::Known(None);
        }
    }
}

/// `pci 0000:00:01.0: Adding to iommu group 0`, with anything before.
fn logged_group(line: &str) -> Option<(PciAddress, u32)> {
    let (before, group) = line.split_once(": Adding to iommu group ")?;
    let address = before.rsplit(' ').next()?.parse().ok()?;
    Some((address, group.trim().parse().ok()?))
}

#[cfg(test)]
mod tests;
