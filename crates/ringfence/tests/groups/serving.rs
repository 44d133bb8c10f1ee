//! `serve` on a real kernel: what it holds the kernel itself refuses to others, what it watches it
//! reports, and what it leaves when it is killed.

use std::time::Duration;

use anyhow::{Result, ensure};
use ringfence_lab::{HostMachine, HostReport};

/// The service is waited for, ten times or so.
pub(crate) const PATIENCE: Duration = Duration::from_secs(480);

/// The card of two functions below 00:05.0: they are one group, and each has a driver.
const SETUP: &str = r#"
PCI=/sys/bus/pci
set -- $(ls $PCI/devices/0000:00:05.0 | grep -E '^0000:..:..[.].$')
A=$1 B=$2
drivers() { for one in $A $B; do
  basename $(readlink $PCI/devices/$one/driver || echo -) | tr '\n' ' '; done; echo; }
# Starts the service and waits for it.
serve() { : > /tmp/events; ringfence serve --json >> /tmp/events 2>&1 & echo $! > /tmp/serve
  until grep -q '"serving"' /tmp/events; do sleep 0.1; done; }
# Waits for an event; says what it said, or that there was none.
said() { for n in $(seq 50); do
    grep "\"event\":\"$1\"" /tmp/events | grep "$2" | tail -n 1 | sed 's/.*"sentence":"\(.*\)"}/\1/' \
      > /tmp/found
    [ -s /tmp/found ] && cat /tmp/found && return
    sleep 0.2
  done; echo "no $1 in:"; cat /tmp/events; }
lock() { ringfence status --json | tr -d ' \n' \
  | sed 's/.*"lock":"\([a-z]*\)","wanted":"\([a-z]*\)".*/\1, wanted \2/'; echo; }
# What another would do to take a function for the host's driver.
steal() { echo $B > $PCI/drivers/vfio-pci/unbind
  echo e1000e > $PCI/devices/$B/driver_override
  echo $B > $PCI/drivers_probe; echo "probe: $?"; drivers; }
give_back() { [ -e $PCI/devices/$B/driver ] && echo $B > $PCI/devices/$B/driver/unbind
  echo vfio-pci > $PCI/devices/$B/driver_override; echo $B > $PCI/drivers_probe; drivers; }
"#;

/// The same host with the cases of the service behind what else is asked of it.
pub(crate) fn asked(host: HostMachine) -> HostMachine {
    host.vfio()
        .with(|machine| machine.file("/etc/passwd", "nobody:x:65534:65534::/:/bin/sh\n"))
        .prepare(SETUP)
        .case(
            "serve: alone",
            "drivers; ringfence claim $A; drivers; lock; ringfence release $B; drivers",
        )
        .case("serve: claim", "serve; ringfence claim $A; lock; said held; drivers")
        .case(
            "serve: steal",
            "steal; said breach \"$B\" > /dev/null; give_back; said mended driver",
        )
        .case(
            "serve: pulled out",
            "echo 1 > $PCI/devices/$B/remove; said breach 'is gone'
             echo 1 > $PCI/rescan; said breach 'no driver'; lock
             ringfence claim > /dev/null; echo $?; give_back; lock",
        )
        .case(
            "serve: open",
            "exec 3<> /dev/vfio/$(basename $(readlink $PCI/devices/$A/iommu_group))",
        )
        .case(
            "serve: killed",
            "kill -9 $(cat /tmp/serve); until lock | grep neither; do sleep 0.1; done
             steal; give_back; serve; lock; steal; give_back",
        )
        .case(
            "serve: watched",
            "ringfence claim --watched $B; lock
             ( exec 3<> /dev/vfio/$(basename $(readlink $PCI/devices/$A/iommu_group)) && echo open )
             steal; said breach 'bound to e1000e'; give_back; ringfence claim --held $A; lock",
        )
        .case(
            "serve: nobody",
            "cp /bin/ringfence /bin/asker
             start-stop-daemon -S -c 65534:65534 -x /bin/asker -- release $A",
        )
        .case(
            "serve: release",
            "ringfence release $A; drivers; said released; ls /run/ringfence/claims",
        )
        .case(
            "serve: stop",
            "kill $(cat /tmp/serve); said stopped; ls /run/ringfence; cat /tmp/events",
        )
}

pub(crate) fn judge(report: &HostReport) -> Result<()> {
    let alone = expect(report, "alone", &["vfio-pci vfio-pci", "neither, wanted held"])?;
    let before = alone.lines().next().unwrap_or_default();
    ensure!(alone.ends_with(&format!("{before}\n")), "not given back: {alone}");
    expect(report, "claim", &["held, wanted held", "vfio-pci vfio-pci"])?;
    // The kernel turns the other driver down, and the override that was changed is reported.
    let steal = expect(report, "steal", &["probe: 1\nvfio-pci - \nvfio-pci vfio-pci"])?;
    let said = String::from_utf8_lossy(&report.outcome("serve: steal")?.stderr).into_owned();
    ensure!(said.contains("Invalid argument") && !steal.contains("no mended"), "{said}\n{steal}");
    // Plugged in again it comes to no driver of the host's, and the group is held all along.
    let gone = " is gone, or is another now\n";
    let back = " is bound to no driver; it was claimed for vfio-pci\nheld, wanted held\n1\n";
    expect(report, "pulled out", &[gone, back, "vfio-pci vfio-pci \nheld, wanted held\n"])?;
    let open = report.outcome("serve: open")?;
    let busy = String::from_utf8_lossy(&open.stderr).contains("busy");
    ensure!(open.status != 0 && busy, "a held group was opened: {open:?}");
    // Killed, it leaves the claim and not the hold; the next one holds it again.
    expect(
        report,
        "killed",
        &[
            "neither, wanted held\nprobe: 0\nvfio-pci e1000e \nvfio-pci vfio-pci \nheld, wanted held\n",
            "probe: 1\nvfio-pci - \nvfio-pci vfio-pci",
        ],
    )?;
    let bound = " is bound to e1000e; it was claimed for vfio-pci\n";
    let watched =
        ["watched, wanted watched\nopen\nprobe: 0\nvfio-pci e1000e \n", bound, "held, wanted"];
    expect(report, "watched", &watched)?;
    let nobody = report.outcome("serve: nobody")?;
    ensure!(nobody.status == 4, "somebody else asked: {nobody:?}");
    expect(report, "release", &[before, "released\nlock\n"])?;
    let stop = expect(report, "stop", &["0 claims left", "\nclaims\n{"])?;
    ensure!(!stop.contains("claims.service"), "left behind: {stop}");
    Ok(())
}

/// What a case printed, in which all of this stands.
fn expect<'a>(report: &'a HostReport, case: &str, parts: &[&str]) -> Result<&'a str> {
    let text = report.text(&format!("serve: {case}"))?;
    for part in parts {
        ensure!(text.contains(part), "{case}: no {part:?} in {text}");
    }
    Ok(text)
}
