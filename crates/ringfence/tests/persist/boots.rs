//! Two boots of one host, each with udev in its initramfs and systemd after it.
//!
//! The first persists claims and makes of them what the second starts with, by the hook of Debian's
//! initramfs-tools. Before the second, cards are moved: a port is added whose bus comes before all
//! others, and one of the claimed cards is replaced by another of the same ids.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfence_lab::{Console, LabRoot, Machine, Part, Scratch, Topology, root};

const PATIENCE: Duration = Duration::from_secs(480);

const DISK_SIZE: u64 = 256 << 20;

/// What the hook of initramfs-tools calls and busybox has not as it is called; its shell prefers its
/// own to any path.
const HOOK_PROGRAMS: &[&str] = &["env", "ln", "realpath"];

/// `ldd` is a script that asks the loader.
const LDD: &str = "#!/bin/sh\nexec /lib64/ld-linux-x86-64.so.2 --list \"$1\"\n";

const HOOK_FUNCTIONS: &str = "usr/share/initramfs-tools/hook-functions";

/// Says of every network card, by the port it is below, its address, driver and override.
const CARDS: &str = "\
cards() {
  for there in /sys/bus/pci/devices/*; do
    [ $(cat $there/class) = 0x020000 ] || continue
    driver=none; [ ! -e $there/driver ] || driver=$(basename $(readlink $there/driver))
    port=$(basename $(dirname $(readlink -f $there)))
    function=${there##*.}
    echo \"@@ $1-$port.$function=${there##*/} $driver $(cat $there/driver_override)\"
  done
}
";

/// The unit of the host service, as it is shipped.
const SERVE: &str = include_str!("../../../../dist/ringfence-serve.service");

const FIRST: &str = r#"
modprobe vfio-pci
cards before
ringfence claim --persist 0000:01:00.1; echo @@ status=$?
ringfence claim --persist 0000:03:00.0; echo @@ status=$?
ringfence claim --persist 0000:01:00.0; echo @@ again=$?
systemctl enable ringfence-claims
udevadm verify --no-style /etc/udev/rules.d/10-ringfence.rules; echo @@ verify=$?
export DESTDIR=/var/stage verbose=n __MODULES_TO_ADD=/var/modules-to-add
mkdir -p $DESTDIR/conf
for program in HOOK-PROGRAMS; do eval "$program() { /usr/lib/hook/$program \"\$@\"; }"; done
( PATH=$PATH:/usr/lib/hook; . /etc/initramfs-tools/hooks/ringfence ); echo @@ hook=$?
echo "@@ modules=$(cat /var/modules-to-add $DESTDIR/conf/modules | tr '\n' ' ')"
cd $DESTDIR
find . -type f | grep -v '/lib' | sort | sed 's/^/@@ staged=/'
cp -a /etc/initramfs-tools /etc/modules-load.d /etc/systemd etc
find . | cpio -o -H newc > /dev/vda; sync
"#;

/// In the initramfs, when udev has let every driver look at every card.
const LOOK: &str = "\
cards initramfs
";

const SECOND: &str = "\
cards root
echo \"@@ unit=$(systemctl is-active ringfence-claims)\"
journalctl -u ringfence-claims -o cat --no-pager | sed 's/^/@@ log=/'
ringfence claim | sed 's/^/@@ claim=/'
dmesg | grep 'e1000e 0000:' | sed 's/^/@@ kernel=/'
systemctl start ringfence-serve
for look in $(seq 50); do
  ringfence claim --json | grep -q '\"lock\": \"held\"' && break; sleep 0.2
done
echo \"@@ serve=$(systemctl is-active ringfence-serve)\"
echo \"@@ lock=$(ringfence claim --json | tr -d '\\n')\"
group=$(basename $(readlink /sys/bus/pci/devices/0000:02:00.0/iommu_group))
(exec 3<> /dev/vfio/$group) 2> /tmp/opened; echo \"@@ opened=$(cat /tmp/opened)\"
echo \"@@ stored=$(systemctl show -P NFileDescriptorStore ringfence-serve)\"
before=$(systemctl show -P MainPID ringfence-serve); kill -9 $before
for look in $(seq 50); do
  now=$(systemctl show -P MainPID ringfence-serve)
  [ $now != 0 ] && [ $now != $before ] && ringfence claim --json | grep -q '\"lock\": \"held\"' && break
  sleep 0.2
done
echo \"@@ again=$(systemctl is-active ringfence-serve)\"
echo \"@@ stored-again=$(systemctl show -P NFileDescriptorStore ringfence-serve)\"
ringfence release 0000:02:00.0; echo @@ given-back=$?
journalctl -u ringfence-serve -o cat --no-pager | sed 's/^/@@ service=/'
cards released
ringfence release --persist 0000:02:00.0; echo @@ forgotten=$?
ringfence release --persist 0000:04:00.0; echo @@ forgotten=$?
find /etc -type f -name '*ringfence*' | sed 's/^/@@ left=/'
";

/// The cards below the ports 02, 03 and 04: one of two functions, another of the same kind, and one
/// more. All have the same ids, but for the subsystem of the last.
fn host(name: &str, last: &'static str) -> Machine {
    let card = Part::Device(vec![Part::Function("e1000e"), Part::Function("e1000e")]);
    let topology = Topology::new(vec![
        Part::RootPort(vec![card]),
        Part::RootPort(vec![Part::Function("e1000e")]),
        Part::RootPort(vec![Part::Function(last)]),
    ]);
    Machine::new(name)
        .memory_mib(1024)
        .cpus(2)
        .qemu(["-device", "intel-iommu,intremap=on,caching-mode=on"])
        .command_line("intel_iommu=on no_timer_check")
        .qemu(topology.arguments())
}

fn booted(machine: Machine, lab: &LabRoot, script: &str) -> Result<Machine> {
    Ok(machine
        .udev(lab, &["e1000e", "vfio-pci", "vfio_iommu_type1"])?
        .systemd(lab, &["libgcc_s.so.1", "libm.so.6"])?
        .file("/usr/lib/systemd/system/ringfence-serve.service", SERVE)
        .file("/initramfs-look", format!("{CARDS}{LOOK}"))
        .script(&format!("{CARDS}{script}")))
}

/// What both boots said.
pub(crate) struct Boots {
    pub(crate) first: Console,
    pub(crate) second: Console,
}

pub(crate) fn run() -> Result<Boots> {
    let lab = root()?;
    let scratch = Scratch::new()?;
    let disk = scratch.join("disk");
    std::fs::File::create(&disk)?.set_len(DISK_SIZE)?;
    let first_script = FIRST.replace("HOOK-PROGRAMS", &HOOK_PROGRAMS.join(" "));
    let mut machine = booted(host("persist-1", "e1000e"), &lab, &first_script)?
        .module("virtio_pci")
        .module("virtio_blk")
        .qemu(["-drive".into(), drive(&disk)?, "-device".into(), DISK_DEVICE.to_owned()])
        .file("/usr/bin/ringfence", stripped(&scratch)?)
        .file(format!("/{HOOK_FUNCTIONS}"), std::fs::read(lab.file(HOOK_FUNCTIONS)?)?)
        .file("/usr/lib/hook/ldd", LDD);
    for program in HOOK_PROGRAMS {
        let bytes = std::fs::read(lab.file(&format!("usr/bin/{program}"))?)?;
        machine = machine.file(format!("/usr/lib/hook/{program}"), bytes);
    }
    let first = machine.run(&lab, PATIENCE)?;
    let archive = std::fs::read(&disk)?;
    ensure!(archive.starts_with(b"070701"), "the first boot wrote no archive\n{first}");
    let second = booted(host("persist-2", "e1000e,subsys=0x1234"), &lab, SECOND)?
        .qemu(["-device", "pcie-root-port,id=first,bus=pcie.0,addr=01.0,chassis=90,slot=90"])
        .archive(archive)
        .run(&lab, PATIENCE)?;
    Ok(Boots { first, second })
}

/// The program without what only a debugger reads: it is copied five times in the two boots.
fn stripped(scratch: &Scratch) -> Result<Vec<u8>> {
    let path = scratch.join("ringfence");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&path).arg(env!("CARGO_BIN_EXE_ringfence"));
    ensure!(strip.status().context("cannot start strip")?.success(), "strip failed");
    Ok(std::fs::read(path)?)
}

/// Where the slots of the cards end.
const DISK_DEVICE: &str = "virtio-blk-pci,drive=disk,addr=1f.7";

fn drive(disk: &Path) -> Result<String> {
    let path = disk.to_str().context("a path of ours is text")?;
    Ok(format!("if=none,id=disk,format=raw,file={path}"))
}
