//! `reserved_regions` of real machines.

use ringfence_addr::PciAddress;
use ringfence_host::{Fact, Function, Host, HostMemory, Owners, RegionKind};

use crate::data;

/// Two lists, one in which the kernel's own page lies in what firmware set up.
pub(crate) fn real_lists_are_read() {
    let lists = data::files("host/reserved_regions", ".txt");
    assert!(lists.len() >= 2, "{} lists", lists.len());
    for (name, text) in lists {
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> =
            text.lines().filter(|line| line.starts_with("0x")).map(str::to_owned).collect();
        let address = PciAddress::from_requester_id(0, 0x100);
        let mut function = Function::new(address);
        function.kernel_group = Fact::Known(Some(0));
        let host = Host {
            functions: [(address, function)].into(),
            reserved_regions: [(0, lines.clone())].into(),
            ..Host::default()
        };
        let memory = HostMemory::of(&host);
        assert_eq!(memory.regions.len(), lines.len(), "{name}");
        assert_eq!(memory.remarks, Vec::<String>::new(), "{name}");
        let kinds: Vec<_> = memory.regions.iter().map(|region| region.kind).collect();
        match name.as_str() {
            "amd-epyc.txt" => assert_eq!(kinds, [RegionKind::Msi, RegionKind::Reserved]),
            "solidrun-lx2160-rmr.txt" => {
                assert_eq!(kinds.iter().filter(|it| **it == RegionKind::SoftwareMsi).count(), 1);
                assert_eq!(kinds.iter().filter(|it| **it == RegionKind::Relaxable).count(), 4);
                assert!(memory.regions[0].span.encloses(&memory.regions[1].span));
            }
            _ => {}
        }
        for region in &memory.regions {
            let expected = match region.kind {
                RegionKind::Relaxable => Owners::Among([address].into()),
                _ => Owners::All,
            };
            assert_eq!(region.owners, expected, "{name} {}", region.span);
        }
    }
}
