//! What a kernel says of its functions and groups, as lines of a script.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use ringfence_addr::PciAddress;
use ringfence_tables::{PciFunction, PciFunctions};

/// Lines of shell that print it: a function's class and the first 32 bytes of its registers, a
/// group's members, and below the group the lines of its `reserved_regions`.
pub(super) const SCRIPT: &str = "\
cd /sys/bus/pci/devices && for one in *; do
  echo \"function $one $(cat $one/class)\" $(od -An -v -tx1 -N 32 $one/config)
done
cd /sys/kernel/iommu_groups && for group in *; do
  [ -d $group/devices ] || continue
  echo group $(ls $group/devices)
  cat $group/reserved_regions
done; true";

/// Lines of shell that print what the kernel said about its IOMMU.
pub(super) const MESSAGES: &str = "dmesg | grep -e DMAR -e IVRS -e AMD-Vi -e RMRR || true";

/// What a kernel said.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) functions: PciFunctions,
    pub(super) groups: Vec<Group>,
}

/// A group as listed.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) members: Vec<PciAddress>,
    pub(super) lines: Vec<String>,
}

const HEADER_TYPE: usize = 0x0e;
const SECONDARY_BUS: usize = 0x19;
const SUBORDINATE_BUS: usize = 0x1a;

impl Listing {
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut by_address = BTreeMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("function") => {
                    let (address, function) =
                        function(words).with_context(|| format!("the line {line:?}"))?;
                    by_address.insert(address, function);
                }
                Some("group") => {
                    let members: Result<Vec<PciAddress>, _> = words.map(str::parse).collect();
                    let members = members.with_context(|| format!("the line {line:?}"))?;
                    groups.push(Group { members, lines: Vec::new() });
                }
                Some(word) if word.starts_with("0x") => {
                    let group = groups.last_mut().context("a region stands before all groups")?;
                    group.lines.push(line.trim().to_owned());
                }
                _ => bail!("the line {line:?} is not one of the script's"),
            }
        }
        Ok(Self { functions: PciFunctions { by_address, keeps_boot_setup: false }, groups })
    }
}

fn function<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<(PciAddress, PciFunction)> {
    let address = words.next().context("no address")?.parse()?;
    let class = words.next().and_then(|word| word.strip_prefix("0x")).context("no class")?;
    let class = u32::from_str_radix(class, 16)?;
    let registers: Result<Vec<u8>, _> = words.map(|word| u8::from_str_radix(word, 16)).collect();
    let registers = registers?;
    let at = |offset: usize| registers.get(offset).copied().context("registers are lacking");
    let is_bridge = at(HEADER_TYPE)? & 0x7f == 1;
    let behind = is_bridge.then(|| anyhow::Ok((at(SECONDARY_BUS)?, at(SUBORDINATE_BUS)?)));
    let behind = behind.transpose()?;
    Ok((address, PciFunction { class: Some(class), is_bridge, behind, physical: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_groups_are_read() {
        let mut registers = vec!["00"; 32];
        (registers[0x0e], registers[0x19], registers[0x1a]) = ("81", "02", "03");
        let text = format!(
            "function 0000:00:1c.4 0x060400 {}\n\
             group 0000:00:1c.4 0000:02:00.0\n\
             0x00000000fee00000 0x00000000feefffff msi\n\
             group\n",
            registers.join(" ")
        );
        let listing = Listing::read(&text).expect("well formed");
        let port = "0000:00:1c.4".parse().expect("an address");
        assert_eq!(listing.functions.by_address[&port].behind, Some((2, 3)));
        assert_eq!(listing.groups.len(), 2);
        assert_eq!(listing.groups[0].members.len(), 2);
        assert_eq!(listing.groups[0].lines, ["0x00000000fee00000 0x00000000feefffff msi"]);
        assert!(Listing::read("function 0000:00:1c.4 0x060400 00").is_err());
        assert!(Listing::read("cat: no such file").is_err());
    }
}
