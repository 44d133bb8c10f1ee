//! A guest of an unmodified QEMU's, without privileges in a host of the lab's, drives a function that is
//! served to it.

use std::time::Duration;

use anyhow::{Result, ensure};
use ringfence_lab::{Console, HostMachine, IommuKind, Machine, Part, Topology, binary, root};

/// Each instruction of the guest's is translated twice.
const PATIENCE: Duration = Duration::from_secs(1200);

/// How long the guest may take of that.
const GUEST_SECONDS: u32 = 900;

/// The guest: its memory in MiB, and where it leaves memory alone, within what an `edu` reaches.
const MEMORY_MIB: u32 = 160;
const APART: &str = "memmap=64K$0x8000000 no_timer_check";

/// Two copies by the function: within memory, and to where there is none.
const SCRIPT: &str = "\
D=/sys/bus/pci/devices/0000:00:05.0
echo \"@@ id=$(cat $D/vendor) $(cat $D/device)\"
echo 1 > $D/enable
A=$(awk 'NR == 1 { print $1 }' $D/resource)
put() { printf \"\\\\x$2\" | dd of=$D/config bs=1 seek=$1 conv=notrunc 2>/dev/null; }
put 4 6
reg() { devmem $((A + $1)) $2 $3; }
transfer() {
  reg 0x80 64 $1; reg 0x88 64 $2; reg 0x90 64 8; reg 0x98 32 $3
  while [ $(($(reg 0x98 32) & 1)) = 1 ]; do sleep 0.1; done
}
reg 4 32 0x12345678
echo \"@@ registers=$(reg 0 32) $(reg 4 32)\"
devmem 0x8000040 64 0x1122334455667788
transfer 0x8000040 0x40000 1
transfer 0x40000 0x8000080 3
echo \"@@ inside=$(devmem 0x8000080 64)\"
transfer 0x40000 0xc000000 3
echo '@@ outside=done'
";

const SERVE: &str = "\
claimer claim $E && lender serve $E /tmp/edu.sock MEMORY > /tmp/served 2>&1 &
for turn in $(seq 60); do grep -q serving /tmp/served && break; sleep 1; done
su nobody -s /bin/sh -c 'grep CapEff /proc/self/status; exec timeout SECONDS qemu-inside ARGUMENTS'
echo \"@@ qemu=$?\"
for turn in $(seq 20); do grep -q back /tmp/served && break; sleep 1; done
kill $!; cat /tmp/served";

pub(super) fn drives() -> Result<()> {
    let lab = root()?;
    let guest = Machine::new("inner").command_line(APART).script(SCRIPT);
    let device = "{\"driver\":\"vfio-user-pci\",\"addr\":\"05.0\",\"x-msg-timeout\":60000,\
                  \"socket\":{\"type\":\"unix\",\"path\":\"/tmp/edu.sock\"}}";
    let arguments = format!(
        "-m {MEMORY_MIB}M -machine q35,memory-backend=ram \
         -object memory-backend-memfd,id=ram,size={MEMORY_MIB}M,share=on -device \"$DEVICE\""
    );
    let topology = Topology::new(vec![Part::RootPort(vec![Part::Function("edu")])]);
    let users = "root::0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
    let command = SERVE
        .replace("SECONDS", &GUEST_SECONDS.to_string())
        .replace("MEMORY", &MEMORY_MIB.to_string())
        .replace("ARGUMENTS", &arguments);
    let mut problem = None;
    let host = HostMachine::new("outer", "6.12", IommuKind::Intel, &topology).vfio();
    let host = host.with(|machine| {
        let machine = machine.memory_mib(1536).cpus(2).file("/etc/passwd", users);
        machine.clone().qemu_inside(&lab, &guest).unwrap_or_else(|error| {
            problem = Some(error);
            machine
        })
    });
    if let Some(error) = problem {
        return Err(error);
    }
    let report = host
        .program(&binary("ringfence-guest", "claimer")?)
        .program(&binary("ringfence-guest", "lender")?)
        .prepare(&format!("E=0000:01:00.0; export DEVICE='{device}'"))
        .case("drives", &command)
        .case("faults", "dmesg | grep -c 'DMAR:.*fault addr 0xc000000'")
        .run(&lab, PATIENCE)?;
    let outcome = report.outcome("drives")?;
    let text = String::from_utf8_lossy(&outcome.stdout);
    let console = Console::parse(&outcome.stdout);
    for (key, expected) in [
        ("id", "0x1234 0x11e8"),
        ("registers", "0x010000ED 0xEDCBA987"),
        ("inside", "0x1122334455667788"),
        ("outside", "done"),
        ("qemu", "0"),
    ] {
        let said = console.value(key).map(str::trim);
        ensure!(said == Some(expected), "{key} is {said:?}, not {expected}: {outcome:?}");
    }
    for expected in [
        "CapEff:\t0000000000000000".to_owned(),
        format!("at most {MEMORY_MIB} MiB"),
        "refused 0 ".to_owned(),
        "left 0 frames, 0 kB locked, bus false".to_owned(),
        "all of it is back".to_owned(),
    ] {
        ensure!(text.contains(&expected), "nothing of `{expected}`: {outcome:?}");
    }
    let faults = report.text("faults")?.trim();
    ensure!(faults != "0", "the IOMMU's driver told of no fault: {outcome:?}");
    Ok(())
}
