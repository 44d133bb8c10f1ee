//! A host with systemd and the shipped unit, started once for all cases: instances of the unit with
//! drop-ins that take something of their box away.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, anyhow};
use ringfence_lab::{Console, Machine, root, workspace};

const PATIENCE: Duration = Duration::from_secs(180);

/// What the fence does not begin without.
pub(crate) const VERIFIED: &[&str] =
    &["mount-namespace", "network-namespace", "system-calls", "no-new-privileges", "capabilities"];

/// What the shipped unit makes besides, and can be told.
pub(crate) const VERIFIED_BESIDES: &[&str] = &["user-namespace", "ipc-namespace", "name-namespace"];

/// An instance whose box is less than the unit's.
pub(crate) struct Lesser {
    pub(crate) name: &'static str,
    /// What a drop-in says to make it so.
    drop_ins: &'static [&'static str],
    /// What of [`VERIFIED`] is missing then.
    pub(crate) lacks: &'static [&'static str],
}

const NETWORK: &str = "PrivateNetwork=no\n";

/// These make a namespace of mounts, each by itself.
const MOUNTS: &str = "\
RootDirectory=
BindReadOnlyPaths=
BindPaths=
PrivateTmp=no
PrivateDevices=no
PrivateIPC=no
ProtectSystem=no
ProtectHome=no
ProtectProc=default
ProcSubset=all
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
ProtectControlGroups=no
";

/// A dynamic user cannot do without some protections.
const ORDINARY_USER: &str = "DynamicUser=no\nUser=operator\n";

const FILTER: &str = "SystemCallFilter=\n";

/// These make filters too.
const OTHER_FILTERS: &str = "\
SystemCallArchitectures=
RestrictAddressFamilies=
RestrictNamespaces=no
RestrictRealtime=no
RestrictSUIDSGID=no
LockPersonality=no
MemoryDenyWriteExecute=no
PrivateDevices=no
ProtectClock=no
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
";

const NEW_PRIVILEGES: &str = "NoNewPrivileges=no\n";

const USERS: &str = "PrivateUsers=no\n";

const CAPABILITIES: &str = "CapabilityBoundingSet=CAP_CHOWN\nAmbientCapabilities=CAP_CHOWN\n";

/// As if the unit said nothing of a box.
const NO_BOX: &[&str] =
    &[ORDINARY_USER, NETWORK, MOUNTS, FILTER, OTHER_FILTERS, NEW_PRIVILEGES, USERS, CAPABILITIES];

pub(crate) const LESSER: &[Lesser] = &[
    Lesser { name: "network", drop_ins: &[NETWORK], lacks: &["network-namespace"] },
    Lesser { name: "mounts", drop_ins: &[ORDINARY_USER, MOUNTS], lacks: &["mount-namespace"] },
    Lesser {
        name: "filter",
        drop_ins: &[ORDINARY_USER, FILTER, OTHER_FILTERS],
        lacks: &["system-calls"],
    },
    Lesser { name: "other-filter", drop_ins: &[FILTER], lacks: &["system-calls"] },
    Lesser {
        name: "new-privileges",
        drop_ins: &[ORDINARY_USER, NEW_PRIVILEGES, FILTER, OTHER_FILTERS],
        lacks: &["system-calls", "no-new-privileges"],
    },
    Lesser { name: "capabilities", drop_ins: &[CAPABILITIES], lacks: &["capabilities"] },
    Lesser { name: "all", drop_ins: NO_BOX, lacks: VERIFIED },
];

/// What a process of an ordinary user can do on a host, and nothing in a box may.
pub(crate) const WAYS: &[(&str, &str)] = &[
    ("read-a-file", "busybox cat /srv/readable"),
    ("change-a-file", "echo changed > /srv/writable"),
    ("see-a-file", "[ -e /srv/secret ]"),
    ("see-the-network", "busybox grep dummy0 /proc/self/net/dev"),
    ("see-a-process", "busybox cat /proc/1/cmdline"),
    ("make-a-namespace", "busybox unshare -U busybox true"),
    // It looks where a user's fences are, which is elsewhere for root.
    ("gain-rights", "XDG_RUNTIME_DIR= ringfence-of-root status 2>&1 | busybox grep /run/ringfence"),
];

/// The host as a fence finds it: interfaces and files of others, a program that gives rights.
const SETTING: &str = "\
mkdir /srv/secret && chmod 700 /srv/secret
echo there > /srv/readable; echo there > /srv/writable; chmod 666 /srv/writable
cp /bin/busybox /usr/bin/busybox
cp /usr/bin/ringfence /usr/bin/ringfence-of-root && chmod 4755 /usr/bin/ringfence-of-root
mkdir -p /var/said
begin() {
    units=
    for instance in $*; do
        mkdir -p /run/ringfence-backend/$instance
        units=\"$units ringfence-fence@$instance\"
    done
    systemctl start $units
}
";

/// What systemd and the fence say of an instance, once it is up or has failed.
const ASK: &str = "\
ask() {
    until
        state=$(systemctl is-active ringfence-fence@$1)
        XDG_RUNTIME_DIR=/run/ringfence-fence/$1 ringfence status --json > /tmp/status
        [ $state = failed ] || grep -q listen /tmp/status
    do
        sleep 0.1
    done
    echo \"@@ $1-state=$state\"
    echo \"@@ $1-status=$(tr -d '\\n' < /tmp/status)\"
    echo \"@@ $1-said=$(tr '\\n' ' ' < /var/said/$1)\"
}
";

/// What happened on the host, for all cases.
pub(crate) fn console() -> Result<&'static Console> {
    static CONSOLE: OnceLock<Result<Console, String>> = OnceLock::new();
    let console = CONSOLE.get_or_init(|| run().map_err(|error| format!("{error:#}")));
    console.as_ref().map_err(|error| anyhow!("{error}"))
}

fn run() -> Result<Console> {
    let lab = root()?;
    let unit = std::fs::read(workspace().join("dist/ringfence-fence@.service"))?;
    let mut machine = Machine::new("systemd")
        .memory_mib(1024)
        .cpus(2)
        .module("dummy")
        .systemd(&lab, &["libgcc_s.so.1", "libm.so.6"])?
        .file("/usr/bin/ringfence", std::fs::read(env!("CARGO_BIN_EXE_ringfence"))?)
        .file("/etc/systemd/system/ringfence-fence@.service", unit);
    let mut drop_in = |instance: &str, text: &str| {
        let path = format!("/etc/systemd/system/ringfence-fence@{instance}.service.d/test.conf");
        let said = "StandardOutput=append:/var/said/%i\nStandardError=append:/var/said/%i\n";
        machine = machine.clone().file(path, format!("[Service]\n{said}{text}"));
    };
    drop_in("whole", "");
    drop_in("kills", "SystemCallErrorNumber=\n");
    for lesser in LESSER {
        drop_in(lesser.name, &lesser.drop_ins.concat());
    }
    let attempts = "Type=oneshot\nExecStart=\nExecStart=/usr/bin/busybox sh /usr/share/ways\n";
    drop_in("closed", attempts);
    drop_in("open", &format!("{attempts}{}", NO_BOX.concat()));
    let fences = ["whole", "kills"].into_iter().chain(LESSER.iter().map(|lesser| lesser.name));
    let fences: Vec<&str> = fences.collect();
    let script = format!(
        "{SETTING}{ASK}\
         begin {} open closed\n\
         for instance in {}; do ask $instance; done\n\
         for instance in open closed; do\n\
         while read line; do echo \"@@ $instance-$line\"; done < /var/said/$instance\n\
         done\n",
        fences.join(" "),
        fences.join(" "),
    );
    let tries: String = WAYS
        .iter()
        .map(|(name, command)| {
            format!("({command}) >/dev/null 2>&1 && echo {name}=out || echo {name}=held\n")
        })
        .collect();
    Ok(machine.file("/usr/share/ways", tries).script(&script).run(&lab, PATIENCE)?)
}
