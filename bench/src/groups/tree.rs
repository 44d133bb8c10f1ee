//! The made-up host as a directory shaped like `/`, for us and for lspci.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ringfence_host::Model;
use ringfence_host::read::{self, Options};

use super::layout::{Made, functions};

/// A directory shaped like `/` of a host with a number of functions.
pub(super) struct Tree {
    /// Where it is.
    pub(super) root: PathBuf,
}

impl Tree {
    /// Makes it at `root`, with the groups a kernel would have made.
    pub(super) fn make(root: PathBuf, count: usize) -> Result<Self> {
        let tree = Self { root };
        for made in functions(count) {
            tree.add(&made).with_context(|| format!("cannot make {}", made.address))?;
        }
        tree.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz intel_iommu=on\n")?;
        tree.write("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vme de pse tsc\n")?;
        tree.write("proc/sys/kernel/osrelease", "6.12.0\n")?;
        tree.write("proc/sys/kernel/arch", "x86_64\n")?;
        fs::create_dir_all(tree.root.join("sys/class/iommu/dmar0"))?;
        fs::create_dir_all(tree.root.join("sys/firmware/acpi/tables"))?;
        tree.add_groups().context("cannot make the groups")?;
        Ok(tree)
    }

    /// What `lspci` takes for sysfs.
    pub(super) fn pci(&self) -> PathBuf {
        self.root.join("sys/bus/pci")
    }

    fn write(&self, path: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().context("every file is in a directory")?)?;
        fs::write(path, contents)?;
        Ok(())
    }

    fn link(&self, path: &str, to: impl AsRef<Path>) -> Result<()> {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().context("every link is in a directory")?)?;
        symlink(to, path)?;
        Ok(())
    }

    fn add(&self, made: &Made) -> Result<()> {
        let directory = format!("sys/devices/{}", made.path);
        let id = |at: usize| {
            format!("{:#06x}\n", u16::from_le_bytes([made.config[at], made.config[at + 1]]))
        };
        let class = [made.config[0x0b], made.config[0x0a], made.config[0x09]];
        let [base, sub, interface] = class;
        self.write(&format!("{directory}/config"), &made.config)?;
        self.write(&format!("{directory}/vendor"), id(0))?;
        self.write(&format!("{directory}/device"), id(2))?;
        self.write(&format!("{directory}/subsystem_vendor"), id(0x2c))?;
        self.write(&format!("{directory}/subsystem_device"), id(0x2e))?;
        self.write(
            &format!("{directory}/class"),
            format!("0x{base:02x}{sub:02x}{interface:02x}\n"),
        )?;
        self.write(&format!("{directory}/revision"), "0x00\n")?;
        self.write(&format!("{directory}/irq"), "0\n")?;
        self.write(&format!("{directory}/reset_method"), "flr bus\n")?;
        let none = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
        let memory = "0x00000000e0000000 0x00000000e0ffffff 0x000000000014220c\n";
        self.write(&format!("{directory}/resource"), format!("{memory}{}", none.repeat(12)))?;
        let up = "../".repeat(made.path.matches('/').count() + 2);
        self.link(&format!("{directory}/driver"), format!("{up}bus/pci/drivers/{}", made.driver))?;
        self.link(
            &format!("sys/bus/pci/devices/{}", made.address),
            format!("../../../devices/{}", made.path),
        )
    }

    /// The groups that Linux would make of what is here.
    fn add_groups(&self) -> Result<()> {
        let host = read::directory(&self.root, Options::default())?;
        for (number, group) in Model::Linux612.partition(&host).groups.iter().enumerate() {
            let place = format!("sys/kernel/iommu_groups/{number}");
            self.write(&format!("{place}/type"), "DMA-FQ\n")?;
            self.write(&format!("{place}/reserved_regions"), "0xfee00000 0xfeefffff msi\n")?;
            for address in &group.functions {
                let device = format!("sys/bus/pci/devices/{address}");
                self.link(&format!("{place}/devices/{address}"), self.root.join(&device))?;
                self.link(&format!("{device}/iommu_group"), self.root.join(&place))?;
                let unit = self.root.join("sys/class/iommu/dmar0");
                self.link(&format!("{device}/iommu"), unit)?;
            }
        }
        Ok(())
    }
}
