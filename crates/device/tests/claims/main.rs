//! Claims on real kernels, with a real IOMMU beneath and VFIO to say what it thinks of them.
//!
//! One machine for each kernel; the cases run in it one after the other and leave it as it was.

mod silent_hole;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{HostMachine, HostReport, IommuKind, Part, Topology, binary, root};

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("claims on linux 6.12 with vt-d", &[Need::Lab], || {
            let machine = with_sound(host("6.12", IommuKind::Intel)?);
            let report = silent_hole::with(machine)?.run(&root()?, PATIENCE)?;
            claims(&report)?;
            kept(&report)?;
            silent_hole::check(&report)
        }),
        Case::new("claims on linux 7 with amd-vi", &[Need::Lab], || {
            claims(&host("7", IommuKind::Amd)?.run(&root()?, PATIENCE)?)
        }),
    ])
}

const PATIENCE: Duration = Duration::from_secs(300);

/// Begin, two overrides, one unbind, two probes, Claimed.
const RECORDS: usize = 7;

/// A card of two functions, which are one group; the second has no driver. And another card.
const A: &str = "0000:01:00.0";
const B: &str = "0000:01:00.1";

const SETUP: &str = "
A=0000:01:00.0; B=0000:01:00.1; PCI=/sys/bus/pci
echo $B > $PCI/drivers/e1000e/unbind
state() { claimer state $A $B; }
state > /tmp/before
# What of the two a state is.
verdict() {
  state > /tmp/now
  cmp -s /tmp/now /tmp/before && echo before && return
  cmp -s /tmp/now /tmp/after && echo after && return
  echo between: $(cat /tmp/now)
}";

fn host(series: &str, iommu: IommuKind) -> Result<HostMachine> {
    let card = Part::Device(vec![Part::Function("e1000e"), Part::Function("e1000e")]);
    let topology = Topology::new(vec![
        Part::RootPort(vec![card]),
        Part::RootPort(vec![Part::Function("e1000e")]),
    ]);
    let killed = format!(
        "for n in $(seq 1 {RECORDS}); do
           claimer claim --kill-after $n $A $B 2>/dev/null; status=$?
           claimer claim $A $B 2>&1 | sed -n 's/claimer: \\(RF....\\).*/\\1/p' | tr '\\n' ' '
           echo \"$n status $status $(claimer recover) $(verdict)\"
         done
         claimer release $A"
    );
    let released = "
        claimer claim $A $B
        claimer release --kill-after 1 $A
        echo $? $(claimer recover) $(verdict)";
    // What another would do to take a function for the host's driver.
    let steal = "
        echo $B > $PCI/drivers/vfio-pci/unbind
        echo e1000e > $PCI/devices/$B/driver_override
        echo $B > $PCI/drivers_probe 2>/dev/null
        claimer state $B; claimer viability $A";
    let give_back = "
        echo $B > $PCI/devices/$B/driver/unbind
        echo vfio-pci > $PCI/devices/$B/driver_override
        echo $B > $PCI/drivers_probe; verdict";
    let machine = HostMachine::new("claims", series, iommu, &topology)
        .vfio()
        .program(&binary("ringfence-guest", "claimer")?)
        .prepare(SETUP)
        .case("before", "state; ls /sys/class/net")
        .case("part", "claimer claim $A")
        .case(
            "route",
            "nic=$(ls $PCI/devices/$A/net)
             ip link set $nic up; ip route add default dev $nic; claimer claim $A $B; status=$?
             ip route del default; ip link set $nic down; exit $status",
        )
        .case("claim", "claimer claim $A $B; state; claimer viability $A")
        .prepare("state > /tmp/after")
        .case("again", "claimer claim $A $B")
        .case("release", "claimer release $B; verdict; ls /sys/class/net; ls /run/ringfence/claims")
        .case("killed", &killed)
        .case("release killed", released)
        .case("unheld", &format!("export A B PCI; claimer claim $A $B; {steal}; {give_back}"))
        .case(
            "held",
            &format!("export A B PCI; claimer hold $A '{steal}; claimer release $A'; {give_back}"),
        )
        .case(
            "watched",
            &format!(
                "export A B PCI
                 claimer watch $A 'echo $B > $PCI/drivers/vfio-pci/unbind'
                 echo $B > $PCI/drivers_probe
                 claimer watch $A 'echo 1 > $PCI/devices/$B/remove'
                 claimer watch $A 'echo 1 > $PCI/rescan'{give_back}"
            ),
        )
        .case("end", "claimer release $A; verdict");
    Ok(machine)
}

/// A sound card: its driver does not let go before the last who has it open does.
const SOUND: &str = "0000:00:04.0";

const KEPT: &str = "
sleep 600 < /dev/snd/controlC0 & holder=$!
claimer --patience 2 claim $S 2>&1; echo status $?
claimer claim $S 2>&1; claimer recover
kill $holder
# Both the unbinding and what was to undo it are with the kernel: it gets to them now.
until claimer recover | tee /tmp/recovered | grep undone; do
  grep -q '^in work' /tmp/recovered || break
done
claimer state $S; ls /run/ringfence/claims /dev/snd/controlC0
claimer claim $S; claimer release $S; claimer state $S";

fn with_sound(machine: HostMachine) -> HostMachine {
    let card = ["-audiodev", "none,id=sound", "-device", "AC97,audiodev=sound,addr=04.0"];
    machine
        .with(|machine| machine.qemu(card).module("snd-intel8x0"))
        .case("kept", &format!("S={SOUND}{KEPT}"))
}

/// The kernel waits for the driver and we do not; nobody meddles until the kernel is through.
fn kept(report: &HostReport) -> Result<()> {
    let text = report.text("kept")?;
    let (refusal, rest) = text.split_once('\n').unwrap_or_default();
    let kept = format!("RF0709 driver does not let go: {SOUND}: snd_intel8x0 has not answered");
    ensure!(refusal.contains("RF0711") && refusal.contains(&kept), "{text}");
    let name = "0000:00+04.0";
    let expected = format!(
        "status 1\nclaimer: RF0713 claim in work: {SOUND} is in claim {name}\nin work {name}\n\
         undone {name}\n{SOUND} snd_intel8x0 -\n/dev/snd/controlC0\n\n\
         /run/ringfence/claims:\nlock\n\
         claimed {name}\nreleased {name}\n{SOUND} snd_intel8x0 -\n"
    );
    ensure!(rest == expected, "{text}");
    Ok(())
}

fn claims(report: &HostReport) -> Result<()> {
    let before = report.text("before")?;
    ensure!(before.starts_with(&format!("{A} e1000e -\n{B} - -\n")), "{before}");
    refused(report, "part", &["RF0704", B])?;
    refused(report, "route", &["RF0702", A])?;
    refused(report, "again", &["RF0712"])?;
    let claim = report.text("claim")?;
    let after = format!("{A} vfio-pci vfio-pci\n{B} vfio-pci vfio-pci\nviable\n");
    ensure!(claim.ends_with(&after), "{claim}");
    let release = report.text("release")?;
    ensure!(release.contains("\nbefore\n") && release.ends_with("\nlock\n"), "{release}");
    let interfaces = before.lines().count() - 2;
    ensure!(release.lines().count() == interfaces + 3, "the interface is not back: {release}");
    killed(report.text("killed")?)?;
    let released = report.text("release killed")?;
    ensure!(released.ends_with("137 undone 0000:00+02.0+00.0 before\n"), "{released}");
    taken(report)?;
    watched(report)?;
    let end = report.text("end")?;
    ensure!(end.ends_with("\nbefore\n"), "{end}");
    Ok(())
}

fn refused(report: &HostReport, case: &str, words: &[&str]) -> Result<()> {
    let outcome = report.outcome(case)?;
    let said = String::from_utf8_lossy(&outcome.stderr);
    ensure!(outcome.status == 1, "{case}: {outcome:?}");
    ensure!(words.iter().all(|word| said.contains(word)), "{case}: {outcome:?}");
    Ok(())
}

/// Killed after every record, refused to others meanwhile, and recovered.
fn killed(text: &str) -> Result<()> {
    let lines: Vec<_> = text.lines().collect();
    let name = "0000:00+02.0+00.0";
    let mut expected: Vec<_> = (1..RECORDS)
        .map(|record| format!("RF0714 {record} status 137 undone {name} before"))
        .collect();
    expected.push(format!("RF0712 {RECORDS} status 137 stands {name} after"));
    expected.push(format!("released {name}"));
    ensure!(lines == expected, "{text}");
    Ok(())
}

/// Another driver gets in where the claim is only watched, and is turned down where it is held.
fn taken(report: &HostReport) -> Result<()> {
    let unheld = report.text("unheld")?;
    let in_the_way = format!("{B} e1000e e1000e\nnot viable\n{B} is bound to e1000e\n");
    ensure!(unheld.contains(&in_the_way) && unheld.ends_with("after\n"), "{unheld}");
    let held = report.text("held")?;
    let turned_down = format!("held: 1\n{B} - e1000e\nviable\n");
    ensure!(held.starts_with(&turned_down) && held.ends_with("after\n"), "{held}");
    let said = String::from_utf8_lossy(&report.outcome("held")?.stderr).into_owned();
    ensure!(said.contains("RF0713"), "released while held: {said}");
    Ok(())
}

fn watched(report: &HostReport) -> Result<()> {
    let text = report.text("watched")?;
    let expected = format!(
        "before: 0\n{B} is bound to no driver; it was claimed for vfio-pci\n\
         before: 0\n{B} is gone, or is another now\n\
         before: 1\n{B} is bound to e1000e; it was claimed for vfio-pci\n\
         the override of {B} says nothing: any driver may take it\nafter\n"
    );
    ensure!(text == expected, "{text}");
    Ok(())
}
