//! Every reason not to take a group, named.

use std::fs::File;

use ringfence_addr::PciAddress;
use ringfence_device::{Manager, closed_groups, examine, observed_groups, refusals, whole_groups};
use ringfence_host::{Group, GroupKey, Partition};
use ringfence_refusal::{Code, Refusal};
use rustix::fs::{FlockOperation, flock};

use crate::failures::{card, code};
use crate::fake::{Host, NETWORK, at};
use crate::kernel::Kernel;

fn found(host: &Host, functions: &[PciAddress]) -> Vec<Refusal> {
    examine(&host.root(), functions).expect("a host of ours").refusals
}

/// Asserts that a claim of the card is refused with `expected` alone, that it says each of `words`,
/// and that nothing was changed.
fn assert_refused(host: &Host, expected: &Code, words: &[&str]) {
    let found = found(host, &card());
    let codes: Vec<_> = found.iter().map(|refusal| refusal.code().number).collect();
    assert_eq!(codes, [expected.number], "{found:?}");
    for word in words {
        assert!(found[0].detail().contains(word), "{word} is not in {}", found[0]);
    }
    let before = host.state();
    let kernel = Kernel::of(host);
    let failure = host.manager(&kernel).claim(&card()).expect_err("it is refused");
    assert_eq!(code(&failure), expected.number);
    assert_eq!((kernel.writes(), host.state()), (0, before));
    assert!(host.journals().is_empty());
}

/// A disk `sda` with a partition `sda1` behind the first function of the card.
fn disk(host: &Host) -> String {
    let block = format!("{}/ata1/block/sda", host.device_path("0000:01:00.0"));
    host.write(&format!("{block}/sda1/partition"), "1\n");
    host.link("sys/dev/block/8:1", &format!("{block}/sda1"));
    host.link("sys/class/block/sda1", &format!("{block}/sda1"));
    host.link("sys/class/block/sda", &block);
    block
}

fn mount(host: &Host, line: &str) {
    host.write("proc/self/mountinfo", &format!("21 1 0:20 / /proc rw - proc none rw\n{line}\n"));
}

#[test]
fn a_mounted_disk() {
    let host = Host::with_card();
    disk(&host);
    assert_eq!(found(&host, &card()), [], "a disk that nobody uses");
    mount(&host, "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw");
    let words = ["0000:01:00.0 (e1000e) holds the filesystem at /", "/dev/sda1"];
    assert_refused(&host, &refusals::DISK, &words);
}

#[test]
fn a_disk_below_layers() {
    let host = Host::with_card();
    let block = disk(&host);
    // LVM over encryption over the partition.
    for (name, below) in [("dm-0", format!("{block}/sda1")), ("dm-1", dm("dm-0"))] {
        host.link(&format!("{}/slaves/below", dm(name)), &below);
        host.link(&format!("sys/class/block/{name}"), &dm(name));
    }
    host.link("sys/dev/block/254:1", &dm("dm-1"));
    mount(&host, "25 1 254:1 / /home rw - xfs /dev/mapper/vg-home rw");
    assert_refused(&host, &refusals::DISK, &["/home", "/dev/mapper/vg-home"]);
}

fn dm(name: &str) -> String {
    format!("sys/devices/virtual/block/{name}")
}

#[test]
fn layers_that_go_round_in_a_circle_end() {
    let host = Host::with_card();
    for (name, below) in [("dm-0", "dm-1"), ("dm-1", "dm-0")] {
        host.link(&format!("{}/slaves/below", dm(name)), &dm(below));
    }
    host.link("sys/dev/block/254:1", &dm("dm-1"));
    mount(&host, "25 1 254:1 / / rw - xfs /dev/dm-1 rw");
    assert_eq!(found(&host, &card()), []);
}

#[test]
fn a_multipath_disk_by_its_paths() {
    let host = Host::with_card();
    let subsystem = "sys/devices/virtual/nvme-subsystem/nvme-subsys0";
    host.folder(&format!("{subsystem}/nvme0n1"));
    let controller = format!("{}/nvme/nvme0", host.device_path("0000:01:00.1"));
    host.folder(&controller);
    host.link(&format!("{subsystem}/nvme0"), &controller);
    host.link("sys/dev/block/259:0", &format!("{subsystem}/nvme0n1"));
    mount(&host, "25 1 259:0 / / rw - ext4 /dev/nvme0n1 rw");
    assert_refused(&host, &refusals::DISK, &["0000:01:00.1 (no driver)"]);
}

#[test]
fn filesystems_over_several_disks() {
    let host = Host::with_card();
    let block = disk(&host);
    host.link("sys/fs/btrfs/1234/devices/sda1", &format!("{block}/sda1"));
    assert_refused(&host, &refusals::DISK, &["btrfs 1234 (on sda1)"]);

    let host = Host::with_card();
    disk(&host);
    mount(&host, "25 1 0:40 / /tank rw - zfs tank rw");
    assert_refused(&host, &refusals::DISK, &["the filesystem at /tank"]);
}

#[test]
fn a_disk_that_is_swapped_to() {
    let host = Host::with_card();
    disk(&host);
    host.write("proc/swaps", "Filename Type Size Used Priority\n/dev/sda1 partition 1 0 -2\n");
    assert_refused(&host, &refusals::DISK, &["swap (on /dev/sda1)"]);
}

#[test]
fn a_disk_is_no_matter_of_a_bridge_that_stays() {
    let host = Host::with_card();
    disk(&host);
    mount(&host, "25 1 8:1 / / rw - ext4 /dev/sda1 rw");
    host.group(3, &[]);
    host.function("", "0000:00:03.0", crate::fake::BRIDGE, Some("pcieport"));
    host.function("0000:00:03.0", "0000:02:00.0", NETWORK, Some("igb"));
    host.group(3, &["0000:00:03.0", "0000:02:00.0"]);
    assert_eq!(found(&host, &["0000:00:03.0", "0000:02:00.0"].map(at)), []);
}

/// An interface of the first function of the card.
fn interface(host: &Host, name: &str) {
    let folder = format!("{}/net/{name}", host.device_path("0000:01:00.0"));
    host.folder(&folder);
    host.link(&format!("sys/class/net/{name}"), &folder);
}

const ROUTES: &str = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";

#[test]
fn the_default_route() {
    let host = Host::with_card();
    interface(&host, "eth0");
    let local = "eth0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
    host.write("proc/net/route", &format!("{ROUTES}{local}"));
    assert_eq!(found(&host, &card()), [], "a route, but not the default");
    let default = "eth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0\n";
    host.write("proc/net/route", &format!("{ROUTES}{local}{default}"));
    assert_refused(&host, &refusals::ROUTE, &["0000:01:00.0", "through eth0"]);
}

#[test]
fn the_default_route_of_ipv6_through_a_bridge() {
    let host = Host::with_card();
    interface(&host, "eth0");
    host.folder("sys/devices/virtual/net/br0/lower_eth0");
    host.link("sys/class/net/br0", "sys/devices/virtual/net/br0");
    let zeros = "0".repeat(32);
    let line = |name: &str, flags: &str| {
        format!("{zeros} 00 {zeros} 00 {zeros} 00000400 00000001 00000000 {flags} {name}\n")
    };
    host.write("proc/net/ipv6_route", &line("br0", "00200200"));
    assert_eq!(found(&host, &card()), [], "a route that rejects");
    host.write("proc/net/ipv6_route", &line("br0", "00000003"));
    assert_refused(&host, &refusals::ROUTE, &["through br0"]);
}

#[test]
fn the_console() {
    let host = Host::with_card();
    host.write("sys/bus/pci/devices/0000:01:00.0/boot_vga", "1\n");
    host.write("sys/class/vtconsole/vtcon0/name", "(S) dummy device\n");
    host.write("sys/class/vtconsole/vtcon0/bind", "1\n");
    host.write("sys/class/vtconsole/vtcon1/name", "(M) frame buffer device\n");
    host.write("sys/class/vtconsole/vtcon1/bind", "0\n");
    assert_eq!(found(&host, &card()), [], "nothing draws on it");
    host.write("sys/class/vtconsole/vtcon1/bind", "1\n");
    assert_refused(&host, &refusals::CONSOLE, &["vtcon1", "firmware booted with"]);
    host.write("sys/bus/pci/devices/0000:01:00.0/boot_vga", "0\n");
    let drawn = format!("{}/graphics/fb0", host.device_path("0000:01:00.1"));
    host.folder(&drawn);
    host.link("sys/class/graphics/fb0", &drawn);
    assert_refused(&host, &refusals::CONSOLE, &["0000:01:00.1", "fb0"]);
}

#[test]
fn a_console_on_a_serial_card() {
    let host = Host::with_card();
    let line = format!("{}/tty/ttyS4", host.device_path("0000:01:00.0"));
    host.folder(&line);
    host.link("sys/class/tty/ttyS4", &line);
    host.write("sys/class/tty/console/active", "tty0 ttyS0\n");
    assert_eq!(found(&host, &card()), []);
    host.write("sys/class/tty/console/active", "tty0 ttyS4\n");
    assert_refused(&host, &refusals::CONSOLE, &["the console ttyS4"]);
}

/// What is below a serial port of the board has names that can be read as addresses.
#[test]
fn a_console_on_the_board() {
    let host = Host::with_card();
    let line = "sys/devices/pnp0/00:01/00:01:0/00:01:0.0/tty/ttyS0";
    host.folder(line);
    host.link("sys/class/tty/ttyS0", line);
    host.write("sys/class/tty/console/active", "ttyS0\n");
    assert_eq!(found(&host, &card()), [], "it has nothing to do with 0000:01:00.0");
}

#[test]
fn a_part_of_a_group() {
    let host = Host::with_card();
    let found = found(&host, &card()[..2]);
    let [refusal] = &found[..] else { panic!("{found:?}") };
    assert_eq!(refusal.code(), &refusals::PARTIAL);
    assert_eq!(refusal.detail(), "0000:01:00.1 (no driver) is in group 1 with 0000:00:01.0");
    let kernel = Kernel::of(&host);
    let failure = host.manager(&kernel).claim(&[]).expect_err("nothing");
    assert_eq!(code(&failure), refusals::PARTIAL.number);
}

#[test]
fn no_group() {
    let host = Host::with_card();
    host.function("", "0000:00:04.0", NETWORK, None);
    let found = found(&host, &[at("0000:00:04.0")]);
    assert_eq!(found[0].code(), &refusals::NO_GROUP);
    let failure = observed_groups(&host.root(), &[at("0000:00:04.0")]).expect_err("no group");
    assert_eq!(code(&failure), refusals::NO_GROUP.number);
    let partition = Partition { model: "observed", groups: Vec::new(), without: [].into() };
    let refusal = whole_groups(&partition, &[card()[0]]).expect_err("it has no groups");
    assert_eq!(refusal.code(), &refusals::NO_GROUP);
}

#[test]
fn a_group_comes_whole_by_any_of_its_functions() {
    let group = |functions: &[PciAddress]| Group {
        key: GroupKey("x".to_string()),
        functions: functions.to_vec(),
        reasons: Vec::new(),
    };
    let other = at("0000:00:02.0");
    let groups = vec![group(&card()), group(&[other])];
    let partition = Partition { model: "strict", groups, without: [].into() };
    assert_eq!(whole_groups(&partition, &[card()[2], card()[1]]), Ok(card()));
    assert_eq!(whole_groups(&partition, &[other]), Ok(vec![other]));
    let host = Host::with_card();
    let observed = observed_groups(&host.root(), &card()[1..2]).expect("it is in a group");
    assert_eq!(observed, card());

    // The model adds a function, and the kernel the rest of that function's group.
    let (beside, its_mate) = (at("0000:02:00.0"), at("0000:02:00.1"));
    for address in [beside, its_mate] {
        host.function("", &address.to_string(), NETWORK, None);
    }
    host.group(7, &["0000:02:00.0", "0000:02:00.1"]);
    let mut all = card();
    all.extend([beside, its_mate]);
    let joined = group(&[card(), vec![beside]].concat());
    let partition =
        Partition { model: "strict", groups: vec![joined, group(&[its_mate])], without: [].into() };
    let closed = closed_groups(&host.root(), &partition, &card()[1..2]);
    assert_eq!(closed.expect("all are in groups"), all);
}

#[test]
fn a_region_that_firmware_maps() {
    let host = Host::with_card();
    let file = "sys/kernel/iommu_groups/1/reserved_regions";
    let msi = "0x00000000fee00000 0x00000000feefffff msi\n";
    let relaxable = "0x000000009b000000 0x000000009f1fffff direct-relaxable\n";
    host.write(file, &format!("{relaxable}{msi}"));
    assert_eq!(found(&host, &card()), []);
    host.write(file, &format!("0x00000000dba40000 0x00000000dba5ffff direct\n{msi}"));
    let words = ["0x00000000dba40000-0x00000000dba5ffff in group 1"];
    assert_refused(&host, &refusals::DIRECT_REGION, &words);
}

#[test]
fn no_function_and_no_driver() {
    let host = Host::with_card();
    let kernel = Kernel::of(&host);
    let failure = host.manager(&kernel).claim(&[at("0000:05:00.0")]).expect_err("not there");
    assert_eq!(code(&failure), refusals::NO_FUNCTION.number);
    assert!(failure.to_string().contains("0000:05:00.0"));

    std::fs::remove_dir(host.join("sys/bus/pci/drivers/vfio-pci")).expect("an empty folder");
    assert_refused(&host, &refusals::NO_DRIVER, &["vfio-pci", "0000:01:00.0"]);
}

#[test]
fn what_is_claimed_in_work_or_not_claimed() {
    let host = Host::with_card();
    let kernel = Kernel::of(&host);
    let manager: Manager<'_> = host.manager(&kernel);
    let failure = manager.release(card()[0]).expect_err("not claimed");
    assert_eq!(code(&failure), refusals::NOT_CLAIMED.number);
    manager.claim(&card()).expect("nothing is in the way");
    let failure = manager.claim(&card()[1..]).expect_err("claimed");
    assert_eq!(code(&failure), refusals::CLAIMED.number);
    manager.claim(&[at("0000:00:02.0")]).expect("another group is free");

    let journal = File::open(&host.journals()[0]).expect("a journal");
    flock(&journal, FlockOperation::NonBlockingLockExclusive).expect("nobody works on it");
    let failure = manager.release(card()[0]).expect_err("somebody works on it");
    assert_eq!(code(&failure), refusals::IN_WORK.number);
    let failure = manager.claim(&card()).expect_err("claimed");
    assert_eq!(code(&failure), refusals::CLAIMED.number);
}
