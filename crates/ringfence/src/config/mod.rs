//! A VM as its configuration file describes it.
//!
//! [`load`] reads the file, decodes it strictly, and reports everything that is wrong at once, each
//! with its line, its key, and the nearest right one. Each `[[device]]` is decoded after its `kind`
//! is known: its keys are those of that kind and no others.

mod backend;
mod device;
mod environment;
mod jail;
mod pci;
mod placing;
mod problem;
mod reader;
mod restart;
mod vm;

use std::path::Path;

use anyhow::Context;
use toml::de::{DeTable, DeValue};

pub(crate) use self::backend::Backend;
pub(crate) use self::device::VhostUser;
pub(crate) use self::jail::JailChoice;
pub(crate) use self::problem::Problems;
pub(crate) use self::vm::{AcceleratorChoice, ConsoleChoice, Vm, is_plain_name};

use self::device::Device;
use self::problem::Page;
use self::reader::Table;
use crate::refusals;

/// The longest configuration file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the VM's configuration at `path`.
pub(crate) fn load(path: &Path) -> anyhow::Result<Vm> {
    let text = read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let folder = std::path::absolute(path)?;
    let folder = folder.parent().unwrap_or(Path::new("/"));
    Ok(decode(&path.display().to_string(), &text, folder)?)
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than 1 MiB, which no configuration is"));
    }
    Ok(text)
}

/// Decodes `text`; `path` is what the file is called in messages, `folder` what its relative paths
/// are relative to.
fn decode(path: &str, text: &str, folder: &Path) -> Result<Vm, Problems> {
    let page = Page::new(path, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        page.report(span, &refusals::NOT_TOML, error.message().to_owned());
    }
    page.finish(())?;
    let top = Table::new(&page, "the file", document.span(), document.get_ref());
    let devices: Vec<_> = top
        .tables("device")
        .into_iter()
        .filter_map(|table| device::decode(&table, folder))
        .collect();
    let decoded = match top.take("vm").map(|value| (value.span(), value.get_ref())) {
        Some((span, DeValue::Table(table))) => {
            let decoded = vm::decode(&Table::new(&page, "[vm]", span.clone(), table), folder);
            decoded.map(|vm| (span, vm))
        }
        Some((span, other)) => {
            let detail = format!("`vm` is a table, written [vm], not {}", reader::kind_of(other));
            page.report(span, &refusals::WRONG_TYPE, detail);
            None
        }
        None => {
            page.report(0..0, &refusals::MISSING_KEY, "there is no [vm] table".to_owned());
            None
        }
    };
    top.finish();
    let mut fenced = Vec::new();
    let mut functions = Vec::new();
    for (span, device) in devices {
        match device {
            Device::VhostUser(device) => fenced.push((span, *device)),
            Device::Pci(function) => functions.push((span, function)),
        }
    }
    device::check_names(&page, &fenced);
    pci::check_addresses(&page, &functions);
    let mut guests: Vec<_> =
        functions.iter().map(|(span, function)| (span.clone(), function.guest)).collect();
    guests.extend(fenced.iter().map(|(span, device)| (span.clone(), device.guest)));
    pci::check_guest_addresses(&page, &guests);
    if let Some((span, vm)) = &decoded
        && vm.placing.viommu.is_some()
        && functions.is_empty()
    {
        let detail = "`viommu` is for devices of kind `pci`, and there is none".to_owned();
        page.report(span.clone(), &refusals::KEYS_EXCLUDE, detail);
    }
    let vm = decoded.map(|(_, vm)| Vm {
        devices: fenced.into_iter().map(|(_, device)| device).collect(),
        functions: functions.into_iter().map(|(_, function)| function).collect(),
        ..vm
    });
    match page.finish(vm)? {
        Some(vm) => Ok(vm),
        // Nothing is left out without a problem being reported.
        None => unreachable!("a VM that was not decoded has a problem"),
    }
}

#[cfg(test)]
mod tests;
