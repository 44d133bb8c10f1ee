//! Who made the IOMMUs, and what is reserved because of that, whatever tables say.

use std::collections::BTreeSet;

use ringfence_addr::{Hpa, PciAddress, Span};
use ringfence_tables::{Content, Table};

use crate::fact::{Fact, Unknown};
use crate::function::Class;
use crate::host::Host;

use super::{HostMemory, IommuMaker, Owners, Region, RegionKind, Role};

/// On x86, writes there are interrupts (Intel SDM volume 3, section 12.11.1; AMD APM volume 2,
/// section 16.11).
const MSI: (u64, u64) = (0xfee0_0000, 0xfeef_ffff);
/// Where Linux puts the interrupt controller's page behind an SMMU (`MSI_IOVA_BASE`).
const SOFTWARE_MSI: (u64, u64) = (0x0800_0000, 0x080f_ffff);
/// HyperTransport's own (AMD I/O Virtualization Technology Specification, section 2.1.2).
const HYPERTRANSPORT: (u64, u64) = (0xfd_0000_0000, 0xff_ffff_ffff);
/// Where Linux lets a floppy controller reach (`CONFIG_INTEL_IOMMU_FLOPPY_WA`).
pub(super) const FLOPPY: (u64, u64) = (0, 0xff_ffff);

/// Who made the IOMMUs: by those the kernel uses, otherwise by the tables of those it could.
pub(super) fn maker(host: &Host, tables: &[Table]) -> Fact<IommuMaker> {
    let used = host.iommus.known().into_iter().flatten().find_map(|iommu| {
        const NAMES: &[(&str, IommuMaker)] = &[
            ("dmar", IommuMaker::Intel),
            ("ivhd", IommuMaker::Amd),
            ("smmu", IommuMaker::Arm),
            ("virtio", IommuMaker::Virtio),
        ];
        let found = NAMES.iter().find(|(name, _)| iommu.name.starts_with(name));
        found.map(|(_, maker)| *maker)
    });
    if let Some(maker) = used {
        return Fact::Known(maker);
    }
    let has_no_smmu = tables.iter().any(
        |table| matches!(&table.content, Content::Iort(it) if !it.nodes.iter().any(|it| it.is_smmu())),
    );
    let named = |name: &str| {
        host.table_bytes.contains_key(name)
            || host.tables.known().is_some_and(|all| all.iter().any(|it| it == name))
    };
    for (name, maker) in [
        ("DMAR", IommuMaker::Intel),
        ("IVRS", IommuMaker::Amd),
        ("IORT", IommuMaker::Arm),
        ("VIOT", IommuMaker::Virtio),
    ] {
        if named(name) && !(name == "IORT" && has_no_smmu) {
            return Fact::Known(maker);
        }
    }
    match (&host.iommus, &host.tables) {
        (Fact::Unknown(why), _) | (_, Fact::Unknown(why)) => Fact::Unknown(*why),
        _ => Fact::Unknown(Unknown::NotInSource),
    }
}

/// Adds what a kernel would list that lists nothing here, or that nobody asked.
pub(super) fn assert(host: &Host, memory: &mut HostMemory) {
    let windows: &[((u64, u64), RegionKind, &str)] = match memory.iommu {
        Fact::Known(IommuMaker::Intel) => &[(MSI, RegionKind::Msi, "fixed on x86")],
        Fact::Known(IommuMaker::Amd) => &[
            (MSI, RegionKind::Msi, "fixed on x86"),
            (HYPERTRANSPORT, RegionKind::Reserved, "HyperTransport's own"),
        ],
        Fact::Known(IommuMaker::Arm) => {
            &[(SOFTWARE_MSI, RegionKind::SoftwareMsi, "where Linux puts it behind an SMMU")]
        }
        Fact::Known(IommuMaker::Virtio) => {
            memory.remarks.push(
                "what a virtio-iommu reserves its device says to the running kernel alone"
                    .to_owned(),
            );
            &[]
        }
        Fact::Unknown(_) => &[],
    };
    for &(window, kind, why) in windows {
        let span = Span::new(Hpa::new(window.0), Hpa::new(window.1));
        let source = format!("asserted: {why}");
        memory.regions.extend(span.map(|span| region(span, kind, Owners::All, source)));
    }
    let isa = isa_bridges(host, host.functions.keys().copied());
    if memory.iommu == Fact::Known(IommuMaker::Intel) && !isa.is_empty() {
        let why = "asserted: Linux's way round floppy controllers".to_owned();
        let span = Span::new(Hpa::new(FLOPPY.0), Hpa::new(FLOPPY.1));
        let floppy = |span| region(span, RegionKind::Relaxable, Owners::These(isa), why);
        memory.regions.extend(span.map(floppy));
    }
}

/// The bridges to ISA among these.
pub(super) fn isa_bridges(
    host: &Host,
    among: impl IntoIterator<Item = PciAddress>,
) -> BTreeSet<PciAddress> {
    let is_isa = |address: &PciAddress| {
        let class = host.function(*address).and_then(|it| it.identity.class.known().copied());
        matches!(class, Some(Class { base: 6, sub: 1, .. }))
    };
    among.into_iter().filter(is_isa).collect()
}

/// A region of no particular role.
pub(super) fn region(span: Span<Hpa>, kind: RegionKind, owners: Owners, source: String) -> Region {
    let shared = BTreeSet::new();
    Region { span, kind, owners, shared, role: Role::Other, sources: vec![source] }
}
