//! Snapshots written by hand, whole, cut and garbled. Those of real trees are in `tests/readers`.

use proptest::prelude::*;

use super::text::{Recorded, escaped};
use super::*;
use crate::fact::{Fact, Unknown};
use crate::read::tree::{Directory, Keep, Tree};
use crate::refusals::{GARBLED_SNAPSHOT, UNKNOWN_SNAPSHOT};

const SMALL: &str = "\
ringfence snapshot 1
in proc
text cmdline intel_iommu=on
text cpuinfo flags: hypervisor
in proc/sys/kernel
text osrelease 6.12.107
in sys/bus/pci/devices
names 0000:00:01.0
in sys/bus/pci/devices/0000:00:01.0
to . pci0000:00/0000:00:01.0
config needs-root 0:8680011907041000050004060000810000000000000000000001050000000000000000000000000000000000000000000000000040000000000000000000000
to iommu_group 7
denied reset_method
in sys/kernel/iommu_groups/7
text reserved_regions 0x00000000fee00000 0x00000000feefffff msi\\n0x01 0x02 direct
end
";

fn read(text: &str) -> Result<Host, Refusal> {
    Snapshot::from_text(text.to_owned()).read()
}

#[test]
fn a_snapshot_is_read() {
    let host = read(SMALL).expect("it is whole");
    let function = host.functions.values().next().expect("it has a function");
    assert_eq!(function.identity.device, Fact::Known(0x1901));
    assert_eq!(function.acs, Fact::Unknown(Unknown::NeedsRoot));
    assert_eq!(function.kernel_group, Fact::Known(Some(7)));
    assert_eq!(function.reset_methods, Fact::Unknown(Unknown::NeedsRoot));
    assert_eq!(host.reserved_regions[&7].len(), 2);
    assert_eq!(host.is_virtual_machine, Fact::Known(true));
    assert_eq!(host.kernel.release, Fact::Known("6.12.107".to_owned()));
}

#[test]
fn another_version_is_refused_and_so_is_another_file() {
    for text in ["ringfence snapshot 2\nend\n", "", "00:00.0 Host bridge"] {
        let refusal = read(text).expect_err("not a snapshot");
        assert_eq!(refusal.code(), &UNKNOWN_SNAPSHOT, "{text:?}");
    }
}

#[test]
fn a_snapshot_cut_anywhere_is_refused() {
    for end in 0..SMALL.len() {
        let refusal = read(&SMALL[..end]).expect_err("it is cut");
        let is_title = end <= SMALL.find('\n').expect("it has lines");
        let code = if is_title { &UNKNOWN_SNAPSHOT } else { &GARBLED_SNAPSHOT };
        assert_eq!(refusal.code(), code, "{end}");
    }
}

#[test]
fn garbled_lines_are_named() {
    for (line, what) in [
        ("tixt osrelease 6", "line 2: no such kind of line"),
        ("text osrelease 6", "line 2: a line before the first directory"),
        ("in a\\q", "line 2: the directory's name"),
        ("in a\nin b\nin a", "line 4: a directory that was there before"),
    ] {
        let before = if line.starts_with("tixt") { "in a\n" } else { "" };
        let refusal = read(&format!("ringfence snapshot 1\n{before}{line}\nend\n"))
            .expect_err("it is garbled");
        assert_eq!(refusal.code(), &GARBLED_SNAPSHOT);
        let expected = what.replace("line 2: no", "line 3: no");
        assert_eq!(refusal.detail(), expected);
    }
}

#[test]
fn more_than_any_directory_has_is_refused() {
    let lines = "denied x\n".repeat(100);
    let refusal = read(&format!("ringfence snapshot 1\nin a\n{lines}end\n"))
        .expect_err("no reader asks for so many");
    assert_eq!(refusal.code(), &GARBLED_SNAPSHOT);
    assert_eq!(refusal.detail(), "line 67: more lines than any directory has");
}

#[test]
fn a_function_listed_twice_is_one() {
    let host = read(&SMALL.replace("names 0000:00:01.0", "names 0000:00:01.0 0000:00:01.0"));
    assert_eq!(host.expect("it is whole").functions.len(), 1);
}

/// Every bridge of a path keeps what places turn on, not the path up to it.
#[test]
fn a_path_longer_than_buses_can_be_is_garbled() {
    let path = |count: u32| {
        let part = |id: u32| format!("0000:{:02x}:{:02x}.{}", id >> 8, id >> 3 & 31, id & 7);
        (0..count).map(|id| part(id + 0x100)).collect::<Vec<_>>().join("/")
    };
    for (count, is_known) in [(512, true), (513, false), (60_000, false)] {
        let line = format!("to . {}/0000:00:01.0", path(count));
        let text = SMALL.replace("to . pci0000:00/0000:00:01.0", &line);
        let host = read(&text).expect("it is whole");
        let function = host.functions.values().next().expect("it has a function");
        assert_eq!(function.path.is_known(), is_known, "{count}");
        let groups = crate::Model::Linux612.partition(&host).groups;
        assert_eq!(groups.len(), 1);
    }
}

#[test]
fn without_a_list_of_functions_it_is_nothing_of_a_host() {
    let refusal = read("ringfence snapshot 1\nin proc\nend\n").expect_err("there is no list");
    assert_eq!(refusal.code(), &NOTHING_OF_A_HOST);
}

proptest! {
    #[test]
    fn any_text_survives(text in any::<String>(), name in "[^/]{1,8}") {
        let snapshot = format!(
            "ringfence snapshot 1\nin {0}\ntext {0} {1}\nend\n",
            escaped(&name, true),
            escaped(&text, false),
        );
        let recorded = Recorded::parse(&snapshot).expect("it is whole");
        let directory = recorded.directory(&name);
        let found = directory.text(&escaped(&name, true), Keep::Whole);
        prop_assert_eq!(found, Ok(text.into()));
    }

    #[test]
    fn any_bytes_changed_are_read_or_refused(
        changes in proptest::collection::vec((0..SMALL.len(), any::<u8>()), 1..8),
    ) {
        let mut bytes = SMALL.as_bytes().to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        _ = crate::read::from_bytes(bytes);
    }
}
