//! What the kernel of a running guest says of itself.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use ringfence_plan::check::{GuestGroup, GuestMemory};

use crate::exit::Exit;
use crate::talk::Trouble;

/// The longest list of a kernel's that is read, and how many groups and members are looked at.
const LIST_BYTES_MAX: u64 = 4 << 20;
const GROUPS_MAX: usize = 1 << 16;

/// Its memory and its groups.
pub(super) struct Guest {
    pub(super) memory: GuestMemory,
    pub(super) groups: Vec<GuestGroup>,
}

impl Guest {
    /// That of the guest whose `/` is `root`.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let path = root.join("proc/iomem");
        let memory = GuestMemory::read(&text(&path)?).map_err(|why| unusable(&path, &why))?;
        let mut groups = Vec::new();
        // A guest without an IOMMU has no groups.
        let folder = root.join("sys/kernel/iommu_groups");
        for group in std::fs::read_dir(folder).into_iter().flatten().take(GROUPS_MAX) {
            let group = group?.path();
            let devices = group.join("devices");
            let names = std::fs::read_dir(&devices)
                .with_context(|| format!("cannot read {}", devices.display()))?;
            let names = names.flatten().take(GROUPS_MAX);
            let members = names.filter_map(|one| one.file_name().to_str()?.parse().ok());
            let path = group.join("reserved_regions");
            let group = GuestGroup::read(members, &text(&path)?);
            groups.push(group.map_err(|why| unusable(&path, &why))?);
        }
        Ok(Self { memory, groups })
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LIST_BYTES_MAX).read_to_string(&mut text))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text)
}

fn unusable(path: &Path, why: &str) -> anyhow::Error {
    let what = format!("{} cannot be used: {why}", path.display());
    Trouble::new(Exit::Usage, what, "give the `/` of a running guest, read as root").into()
}
