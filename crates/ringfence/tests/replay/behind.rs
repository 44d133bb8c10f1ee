//! Guests that see an IOMMU, with the table that the plan makes for it: their kernel keeps exactly the
//! plan's regions, of exactly the devices that have them, and finds nothing to complain of.

use anyhow::{Context, Result, ensure};
use ringfence_addr::PciAddress;
use ringfence_lab::{HostMachine, HostReport};
use ringfence_plan::Plan;
use ringfence_plan::check::{GuestGroup, check_guest_groups};
use ringfence_plan::emit::{Consumer, Surroundings, emit};

/// Somebody's that no table is for.
const STRANGER: &str = "0000:00:1d.0";
/// Of Linux's reasons to be tainted: firmware had to be worked around.
const FIRMWARE_WORKAROUND: u64 = 1 << 11;

/// Lines of shell that tell of each group its members, and below them what is kept.
const GROUPS: &str = "\
cd /sys/kernel/iommu_groups && for group in *; do
  echo group $(ls $group/devices)
  cat $group/reserved_regions
done";

/// Where the guest finds devices, one after the other: nowhere that a host has them.
pub(crate) fn places() -> impl Iterator<Item = PciAddress> {
    (6_u16..0x1d).map(|device| PciAddress::from_requester_id(0, device << 3))
}

/// QEMU's arguments but for the initial ramdisk, which is the test's own.
pub(crate) fn without_initrd<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let is_initrd = |at: usize| words[at] == "-initrd" || at > 0 && words[at - 1] == "-initrd";
    (0..words.len()).filter(|at| !is_initrd(*at)).map(|at| words[at]).collect()
}

/// Adds a function at each place that is planned, one at another, and the archive with the table.
pub(crate) fn add(guest: HostMachine, plan: &Plan) -> Result<HostMachine> {
    let told = emit(plan, Surroundings::default(), Consumer::Acpi).map_err(anyhow::Error::new)?;
    let archive = told.files.into_iter().find(|file| file.name.ends_with(".cpio"));
    let archive = archive.context("there is no archive for the guest")?.bytes;
    let stranger: PciAddress = STRANGER.parse()?;
    let places = plan.functions.iter().map(|function| function.guest).chain([stranger]);
    let devices = places.flat_map(|at| {
        let at = format!("{:02x}.{}", at.device(), at.function());
        ["-device".to_owned(), format!("e1000e,romfile=,bus=pcie.0,addr={at}")]
    });
    let devices: Vec<_> = devices.collect();
    Ok(guest
        .with(|machine| machine.archive(archive).qemu(devices).command_line("intel_iommu=on"))
        .case("groups", GROUPS)
        .case("taint", "cat /proc/sys/kernel/tainted; dmesg | grep -i 'firmware bug' || true")
        .case("table", "cat /sys/firmware/acpi/tables/DMAR /sys/firmware/acpi/tables/IVRS; true"))
}

/// Whether the guest's kernel goes by the table.
pub(crate) fn check(plan: &Plan, report: &HostReport) -> Result<()> {
    let told = emit(plan, Surroundings::default(), Consumer::Acpi).map_err(anyhow::Error::new)?;
    let table = &report.outcome("table")?.stdout;
    ensure!(told.files.iter().any(|file| file.bytes == *table), "it has another table: {table:x?}");
    let groups = groups(report.text("groups")?)?;
    let violations = check_guest_groups(plan, &groups);
    ensure!(violations.is_empty(), "{violations:#?}\n{groups:#?}");
    let regions = &plan.viommu.as_ref().context("it is told nothing")?.regions;
    ensure!(!regions.is_empty(), "it is told of no region");
    let stranger = STRANGER.parse()?;
    let stranger = groups.iter().find(|group| group.members.contains(&stranger));
    let kinds = &stranger.context("the stranger is in no group")?.kept;
    ensure!(!kinds.keys().any(|kind| kind.starts_with("direct")), "the stranger has {kinds:?}");
    let taint = report.text("taint")?;
    let bits: u64 = taint.lines().next().context("no taint")?.parse()?;
    ensure!(bits & FIRMWARE_WORKAROUND == 0, "the kernel has worked around the table: {taint}");
    for group in groups.iter().filter(|group| group.kept.keys().any(|it| it.starts_with("direct")))
    {
        println!("in the guest: {:?} keeps {:?}", group.members, group.kept);
    }
    Ok(())
}

fn groups(text: &str) -> Result<Vec<GuestGroup>> {
    let groups = text.split("group ").filter(|group| !group.is_empty());
    let read = |group: &str| {
        let (members, lines) = group.split_once('\n').context("a group has no lines")?;
        let members: Result<Vec<PciAddress>, _> =
            members.split_whitespace().map(str::parse).collect();
        GuestGroup::read(members?, lines).map_err(anyhow::Error::msg)
    };
    groups.map(read).collect()
}
