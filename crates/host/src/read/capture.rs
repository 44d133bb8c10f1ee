//! Console captures of a kernel that printed its functions, their config space and its groups.
//!
//! ```text
//! @@dev 0000:00:01.0 group=1 class=0x060400 id=0x1b36:0x000c driver=pcieport path=pci0000:00/0000:00:01.0
//! @@cfg 361b0c00070510000000040600000100000060fe0000000000010400c0d00000
//! @@group 1 type=DMA devs=0000:00:01.0
//! @@resv 0x00000000fee00000 0x00000000feefffff msi
//! ```
//!
//! A console has anything else in between. 32 bytes a `@@cfg` line; zeros at the end are left out.

use ringfence_addr::PciAddress;
use ringfence_refusal::Refusal;

use crate::fact::{Fact, Unknown};
use crate::function::{Class, Function};
use crate::host::{Host, Iommu};
use crate::refusals::NOTHING_OF_A_HOST;

use super::config_space::describe;
use super::registers::{ConfigBytes, Gap};
use super::tree::Keep;
use super::{hex, paths, virtual_functions};

/// Reads a capture.
///
/// # Errors
///
/// There is no `@@dev` line in it.
pub fn capture(bytes: &[u8]) -> Result<Host, Refusal> {
    let text = String::from_utf8_lossy(bytes);
    let mut reading = Reading::default();
    for (number, line) in text.lines().enumerate() {
        // The first line may follow what firmware left on the screen.
        let Some(at) = line.find("@@") else { continue };
        if !reading.take(&line[at + 2..]) {
            reading.host.remarks.push(format!("line {} of the capture makes no sense", number + 1));
        }
    }
    reading.finish_function();
    if reading.host.functions.is_empty() {
        return Err(Refusal::new(
            &NOTHING_OF_A_HOST,
            format!("a console capture of {} lines without a @@dev line", text.lines().count()),
        ));
    }
    if !reading.iommus.is_empty() {
        reading.host.iommus = Fact::Known(reading.iommus);
    }
    virtual_functions::assign(&mut reading.host);
    Ok(reading.host)
}

#[derive(Default)]
struct Reading {
    host: Host,
    function: Option<(Function, Vec<u8>)>,
    iommus: Vec<Iommu>,
    group: Option<u32>,
}

impl Reading {
    /// Takes one line; false if it is garbled.
    fn take(&mut self, line: &str) -> bool {
        let (word, rest) = line.trim_end().split_once(' ').unwrap_or((line, ""));
        match word {
            "uname" => self.host.kernel.release = Fact::Known(rest.trim().to_owned()),
            "cmdline" => {
                self.host.kernel.command_line =
                    Fact::Known(Keep::CommandLine.of(rest.into()).into_owned());
            }
            "iommu" => {
                let (functions, features) = (Fact::default(), Fact::default());
                self.iommus.push(Iommu { name: rest.trim().to_owned(), functions, features });
            }
            "dev" => return self.start_function(rest),
            "cfg" => {
                let Some((_, bytes)) = &mut self.function else { return false };
                return bytes.len() < 4096 && hex::append(bytes, rest.trim());
            }
            "group" => {
                self.finish_function();
                self.group = rest.split(' ').next().and_then(|number| number.parse().ok());
            }
            "resv" => {
                let Some(group) = self.group else { return false };
                self.host.reserved_regions.entry(group).or_default().push(rest.to_owned());
            }
            _ => {}
        }
        true
    }

    fn start_function(&mut self, line: &str) -> bool {
        self.finish_function();
        let mut words = line.split(' ');
        let Some(Ok(address)) = words.next().map(str::parse::<PciAddress>) else { return false };
        let mut function = Function::new(address);
        let mut is_whole = true;
        for word in words {
            let Some((key, value)) = word.split_once('=') else { continue };
            is_whole &= set(&mut function, key, value).is_some();
        }
        self.function = Some((function, Vec::new()));
        is_whole
    }

    fn finish_function(&mut self) {
        let Some((mut function, mut bytes)) = self.function.take() else { return };
        if bytes.is_empty() {
            super::config_space::set_unknown(&mut function, Unknown::NotInSource);
        } else {
            bytes.resize(4096, 0);
            describe(&mut function, &mut ConfigBytes::new(&bytes, Gap::End));
        }
        self.host.functions.insert(function.address, function);
    }
}

/// Sets one `key=value` of a `@@dev` line; `None` if the value is garbled.
fn set(function: &mut Function, key: &str, value: &str) -> Option<()> {
    match key {
        "group" => {
            let group = if value == "none" { None } else { Some(value.parse().ok()?) };
            function.kernel_group = Fact::Known(group);
        }
        "class" => {
            let class = hex::number(value)?;
            let [interface, sub, base, _] = class.to_le_bytes();
            function.identity.class = Fact::Known(Class { base, sub, interface });
        }
        "id" => {
            let (vendor, device) = value.split_once(':')?;
            function.identity.vendor = Fact::Known(u16::try_from(hex::number(vendor)?).ok()?);
            function.identity.device = Fact::Known(u16::try_from(hex::number(device)?).ok()?);
        }
        "driver" => {
            function.driver = Fact::Known((value != "none").then(|| value.to_owned()));
        }
        "path" => function.path = Fact::Known(paths::above(value, function.address)?),
        _ => {}
    }
    Some(())
}
