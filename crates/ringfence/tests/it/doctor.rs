//! `doctor`, on a host made here: graphics, a USB controller and a disk controller with regions, and a
//! network card that shares its group with sound.

use std::os::unix::fs::symlink;
use std::path::Path;

use ringfence_tables::{
    Content, Dmar, Drhd, Header, Rmrr, Scope, ScopeKind, Scopes, Structure, Table,
};
use serde_json::Value;

use crate::program::{Outcome, Scratch, outcome};
use crate::schema;

const GRAPHICS: &str = "0000:00:02.0";
const USB: &str = "0000:00:14.0";
const DISKS: &str = "0000:00:17.0";
const SOUND: &str = "0000:00:1f.3";
const NETWORK: &str = "0000:00:1f.6";

/// Address, device id, class, driver, group.
type Function = (&'static str, u16, [u8; 3], Option<&'static str>, u32);

const FUNCTIONS: &[Function] = &[
    ("0000:00:00.0", 0x9a14, [6, 0, 0], None, 0),
    (GRAPHICS, 0x9a49, [3, 0, 0], Some("vfio-pci"), 1),
    (USB, 0xa0ed, [0x0c, 3, 0x30], Some("xhci_hcd"), 2),
    (DISKS, 0xa0d3, [1, 6, 1], None, 3),
    (SOUND, 0xa0c8, [4, 3, 0], Some("snd_hda_intel"), 4),
    (NETWORK, 0x15fb, [2, 0, 0], None, 4),
];

fn rmrr(base: u64, limit: u64, paths: &[[u8; 2]]) -> Structure {
    let endpoint = |path: &[u8; 2]| Scope::new(ScopeKind::Endpoint, 0, std::slice::from_ref(path));
    let scopes = Scopes { list: paths.iter().map(endpoint).collect(), rest: Vec::new() };
    Structure::Rmrr(Rmrr { reserved: 0, segment: 0, base, limit, scopes })
}

fn write(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("a file");
}

/// 256 bytes of config space; graphics has 64 MiB of its own and 8 MiB of page table.
fn config(device: u16, class: [u8; 3]) -> Vec<u8> {
    let mut bytes = vec![0; 256];
    bytes[..2].copy_from_slice(&0x8086_u16.to_le_bytes());
    bytes[2..4].copy_from_slice(&device.to_le_bytes());
    (bytes[9], bytes[10], bytes[11]) = (class[2], class[1], class[0]);
    if class[0] == 3 {
        bytes[0x50..0x52].copy_from_slice(&0x02c0_u16.to_le_bytes());
        bytes[0xc0..0xc4].copy_from_slice(&0x7c00_0001_u32.to_le_bytes());
    }
    bytes
}

fn host(scratch: &Scratch, command_line: &str) {
    let root = scratch.path().join("here");
    let (flags, size, segment, base) = (1, 0, 0, 0xfed9_0000);
    let unit = Drhd { flags, size, segment, base, scopes: Scopes::default() };
    let structures = vec![
        Structure::Drhd(unit),
        rmrr(0x7b80_0000, 0x7fff_ffff, &[[2, 0]]),
        rmrr(0x7a00_0000, 0x7a01_ffff, &[[0x14, 0]]),
        rmrr(0x7900_0000, 0x7900_0fff, &[[0x17, 0]]),
    ];
    let table = Table::new(Header::new(*b"DMAR", 1), Content::Dmar(Dmar::new(39, structures)));
    write(&root, "sys/firmware/acpi/tables/DMAR", table.write());
    write(&root, "proc/cmdline", command_line);
    write(&root, "proc/cpuinfo", "flags\t\t: fpu\n");
    write(&root, "sys/class/iommu/dmar0/intel-iommu/cap", "d2008c40660462\n");
    for (address, device, class, driver, group) in FUNCTIONS {
        let folder = format!("sys/bus/pci/devices/{address}");
        write(&root, &format!("{folder}/config"), config(*device, *class));
        let regions = match *address {
            GRAPHICS => "0x000000007b800000 0x000000007fffffff direct-relaxable\n",
            USB => "0x000000007a000000 0x000000007a01ffff direct-relaxable\n",
            DISKS => "0x0000000079000000 0x0000000079000fff direct\n",
            _ => "",
        };
        let regions = format!("{regions}0x00000000fee00000 0x00000000feefffff msi\n");
        write(&root, &format!("sys/kernel/iommu_groups/{group}/reserved_regions"), regions);
        let link = |name: &str, target: &str| {
            symlink(target, root.join(&folder).join(name)).expect("a link");
        };
        link("iommu_group", &format!("../../../../kernel/iommu_groups/{group}"));
        if let Some(driver) = driver {
            link("driver", &format!("../../drivers/{driver}"));
        }
    }
}

fn vm(functions: &[&str], more: &str) -> String {
    let mut text = format!("[vm]\nname = \"desk\"\nmemory = \"4G\"\n{more}");
    for function in functions {
        text.push_str(&format!("[[device]]\nkind = \"pci\"\naddress = \"{function}\"\n"));
    }
    text
}

fn scratch(test: &str, command_line: &str) -> Scratch {
    let scratch = Scratch::new(&format!("doctor-{test}"));
    host(&scratch, command_line);
    scratch
}

fn doctor(scratch: &Scratch, arguments: &[&str]) -> Outcome {
    let all: Vec<_> = ["doctor", "--from", "here"].iter().chain(arguments).copied().collect();
    outcome(&mut scratch.ringfence(&all))
}

/// Every check, as `status code subject`.
fn checks(scratch: &Scratch, arguments: &[&str]) -> (Vec<String>, Value) {
    let arguments: Vec<_> = arguments.iter().chain(&["--json"]).copied().collect();
    let printed = doctor(scratch, &arguments);
    schema::check("doctor", &printed.stdout);
    let answer: Value = serde_json::from_str(&printed.stdout).expect("JSON");
    let failed = answer["verdict"] == "fail";
    assert_eq!(printed.code, Some(i32::from(failed)), "{}", printed.stderr);
    let text = |check: &Value, key: &str| check[key].as_str().expect("a text").to_owned();
    let all = answer["checks"].as_array().expect("a list");
    let line = |check| {
        format!("{} {} {}", text(check, "status"), text(check, "code"), text(check, "subject"))
    };
    (all.iter().map(line).collect(), answer)
}

#[track_caller]
fn find<'a>(answer: &'a Value, code: &str, subject: &str) -> &'a Value {
    let mut all = answer["checks"].as_array().expect("a list").iter();
    let found = all.find(|check| check["code"] == code && check["subject"] == subject);
    found.unwrap_or_else(|| panic!("no {code} of {subject} in {answer}"))
}

#[track_caller]
fn says(check: &Value, key: &str, words: &[&str]) {
    let text = check[key].as_str().unwrap_or_default();
    assert!(words.iter().all(|word| text.contains(word)), "{check} does not say {words:?}");
}

#[test]
fn a_host_by_itself_is_told_what_will_refuse_and_what_will_corrupt() {
    let scratch = scratch("host", "quiet");
    let (lines, answer) = checks(&scratch, &[]);
    assert_eq!(
        lines,
        [
            "pass RF0442 host".to_owned(),
            "pass RF0447 host".to_owned(),
            "pass RF0446 host".to_owned(),
            format!("warn RF0801 {DISKS}"),
            format!("warn RF0441 {USB}"),
            format!("warn RF0441 {GRAPHICS}"),
            format!("warn RF0443 {GRAPHICS}"),
        ]
    );
    assert_eq!((&answer["verdict"], &answer["vm"]), (&"warn".into(), &Value::Null));
    let bypass = find(&answer, "RF0443", GRAPHICS);
    let (page_table, data) = ("0x7b800000-0x7bffffff", "0x7c000000-0x7fffffff");
    says(bypass, "finding", &["GuC and HuC (WOPCM", page_table, data]);
    let shown = doctor(&scratch, &[]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.ends_with("WARN: 0 fail, 4 warn, 3 pass\n"), "{}", shown.stdout);
}

#[test]
fn arguments_that_weaken_isolation_are_named() {
    let line = "pcie_acs_override=downstream intel_iommu=on,igfx_off iommu=pt \
                vfio_iommu_type1.allow_unsafe_interrupts=1";
    let scratch = scratch("arguments", line);
    let (lines, answer) = checks(&scratch, &[]);
    for code in ["RF0444", "RF0445", "RF0446"] {
        assert!(lines.contains(&format!("warn {code} host")), "{code}: {lines:?}");
    }
    says(find(&answer, "RF0444", "host"), "remedy", &["boot without `pcie_acs_override="]);
    // For a VM with the graphics it is no warning: the device is in no group then.
    scratch.write("vm.toml", &vm(&[GRAPHICS], ""));
    let (lines, _) = checks(&scratch, &["vm.toml"]);
    assert!(lines.contains(&format!("fail RF0446 {GRAPHICS}")), "{lines:?}");
}

#[test]
fn memory_that_silently_corrupts_is_named_with_what_to_tell_the_vmm() {
    let scratch = scratch("silent", "quiet");
    scratch.write("vm.toml", &vm(&[GRAPHICS], ""));
    let (lines, answer) = checks(&scratch, &["vm.toml"]);
    assert!(lines.contains(&format!("fail RF0440 {GRAPHICS}")), "{lines:?}");
    let silent = find(&answer, "RF0440", GRAPHICS);
    let region =
        "guest memory 0x7b800000-0x7fffffff lies on 0x7b800000-0x7fffffff direct-relaxable";
    says(silent, "finding", &[region]);
    says(silent, "remedy", &["ringfence plan VM --for qemu", "max-ram-below-4g=1976M"]);
    says(find(&answer, "RF0450", "desk"), "finding", &["case A"]);
    says(find(&answer, "RF0451", GRAPHICS), "finding", &["72 MiB", "generation 12", "`hole`"]);
    assert!(lines.contains(&format!("pass RF0449 {GRAPHICS}")), "{lines:?}");
    assert!(lines.contains(&format!("pass RF0452 {GRAPHICS}")), "{lines:?}");
    // Memory that ends below is no trouble.
    scratch.write("vm.toml", &vm(&[GRAPHICS], "").replace("4G", "1G"));
    let (lines, answer) = checks(&scratch, &["vm.toml"]);
    assert!(lines.contains(&format!("pass RF0440 {GRAPHICS}")), "{lines:?}");
    assert_eq!(answer["verdict"], "warn");
}

#[test]
fn what_a_plan_would_be_refused_for_fails() {
    let scratch = scratch("refused", "quiet");
    scratch.write("vm.toml", &vm(&[DISKS], ""));
    let (lines, answer) = checks(&scratch, &["vm.toml"]);
    assert!(lines.contains(&format!("fail RF0801 {DISKS}")), "{lines:?}");
    says(find(&answer, "RF0801", DISKS), "finding", &["0x79000000-0x79000fff direct"]);
    // 512 GiB are what devices reach.
    scratch.write("vm.toml", &vm(&[GRAPHICS], "").replace("4G", "600G"));
    let (lines, _) = checks(&scratch, &["vm.toml"]);
    assert!(lines.contains(&"fail RF0804 desk".to_owned()), "{lines:?}");
    scratch.write("vm.toml", &vm(&[GRAPHICS], "hotplug = \"510G\"\n"));
    let (lines, _) = checks(&scratch, &["vm.toml"]);
    assert!(lines.iter().any(|line| line.starts_with("fail RF080")), "{lines:?}");
    scratch.write("vm.toml", &vm(&["0000:7f:00.0"], ""));
    let (lines, _) = checks(&scratch, &["vm.toml"]);
    assert!(lines.contains(&"fail RF0707 0000:7f:00.0".to_owned()), "{lines:?}");
}

#[test]
fn who_is_in_the_way_and_who_is_beside_is_named() {
    let scratch = scratch("group", "quiet");
    scratch.write("vm.toml", &vm(&[NETWORK, USB], ""));
    let (lines, answer) = checks(&scratch, &["vm.toml"]);
    assert!(lines.contains(&format!("fail RF0717 {NETWORK}")), "{lines:?}");
    let blocked = find(&answer, "RF0717", NETWORK);
    says(blocked, "finding", &[SOUND, "snd_hda_intel"]);
    says(blocked, "remedy", &["ringfence claim 0000:00:1f.6"]);
    assert!(lines.contains(&format!("warn RF0452 {USB}")), "{lines:?}");
    says(find(&answer, "RF0440", USB), "remedy", &["legacy USB support"]);
    // Without a driver it is no blocker, and still reaches what the VM's function reaches.
    let driver = scratch.path().join(format!("here/sys/bus/pci/devices/{SOUND}/driver"));
    std::fs::remove_file(driver).expect("a link");
    let (lines, answer) = checks(&scratch, &["vm.toml"]);
    assert!(lines.contains(&format!("warn RF0449 {NETWORK}")), "{lines:?}");
    says(find(&answer, "RF0449", NETWORK), "finding", &[SOUND]);
}

#[test]
fn what_others_describe_gets_its_remedy_in_their_words() {
    let scratch = scratch("others", "quiet");
    let xml = "<domain><name>guest</name><memory unit='GiB'>4</memory>\
               <os><type machine='q35'>hvm</type></os><devices><hostdev type='pci'><source>\
               <address bus='0x00' slot='0x02' function='0x0'/></source></hostdev></devices></domain>";
    scratch.write("guest.xml", xml);
    scratch.write("100.conf", "hostpci0: 00:02.0\nmachine: q35\nmemory: 4096\n");
    let arguments = "qemu-system-x86_64\0-M\0q35\0-m\0size=4G\0-device\0vfio-pci,host=00:02.0\0";
    scratch.write("cmdline", arguments);
    for (file, name, words) in [
        ("guest.xml", "guest", "<qemu:arg value='max-ram-below-4g=1976M'/>"),
        ("100.conf", "100", "args: -machine max-ram-below-4g=1976M"),
        ("cmdline", "cmdline", "-machine q35,max-ram-below-4g=1976M"),
    ] {
        let (_, answer) = checks(&scratch, &[file]);
        assert_eq!((&answer["vm"], &answer["verdict"]), (&name.into(), &"fail".into()), "{file}");
        says(find(&answer, "RF0440", GRAPHICS), "remedy", &[words]);
        // QEMU itself shows the memory elsewhere, which drivers of this generation do not take.
        says(find(&answer, "RF0451", GRAPHICS), "finding", &["`relocate`", "give up"]);
    }
    // And with what it was told to do, it passes.
    let told = arguments.replace("q35\0", "q35,max-ram-below-4g=1976M\0");
    scratch.write("cmdline", &told);
    let (lines, answer) = checks(&scratch, &["cmdline"]);
    assert!(lines.contains(&format!("pass RF0440 {GRAPHICS}")), "{lines:?}");
    assert_eq!(answer["verdict"], "warn");
    let told = arguments.replace("-M", "-device\0loader,file=map,addr=0x1000\0-M");
    scratch.write("cmdline", &told);
    let (lines, _) = checks(&scratch, &["cmdline"]);
    assert!(lines.contains(&format!("warn RF0440 {GRAPHICS}")), "{lines:?}");
    scratch.write("letter.xml", "<letter/>");
    let refused = doctor(&scratch, &["letter.xml"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("RF0419"), "{}", refused.stderr);
}

#[test]
fn a_running_process_is_read_by_its_arguments() {
    let scratch = scratch("process", "quiet");
    // A process whose arguments are QEMU's; it does nothing with them.
    let script = scratch.script("qemu-system-x86_64", "sleep 600 & wait");
    let mut command = std::process::Command::new("/bin/sh");
    command.arg(&script).args(["-M", "q35", "-m", "4G", "-device", "vfio-pci,host=00:02.0"]);
    let mut process = command.spawn().expect("it can be started");
    let id = process.id().to_string();
    let answered = loop {
        let path = format!("/proc/{id}/cmdline");
        let arguments = std::fs::read(path).expect("it runs");
        // Until then it is this program, not yet the other.
        if arguments.windows(4).any(|four| four == b"vfio") {
            break checks(&scratch, &["--pid", &id]);
        }
        std::thread::yield_now();
    };
    let own = std::process::id().to_string();
    let refused = doctor(&scratch, &["--pid", &own]);
    let children = format!("/proc/{id}/task/{id}/children");
    for child in std::fs::read_to_string(children).unwrap_or_default().split_whitespace() {
        let _ = std::process::Command::new("kill").arg(child).status();
    }
    let _ = process.kill();
    let _ = process.wait();
    assert!(answered.0.contains(&format!("fail RF0440 {GRAPHICS}")), "{:?}", answered.0);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("RF0419"), "{}", refused.stderr);
}

#[test]
fn what_was_not_read_is_said_and_not_guessed() {
    let scratch = Scratch::new("doctor-unread");
    let root = scratch.path().join("here");
    write(&root, &format!("sys/bus/pci/devices/{NETWORK}/config"), config(0x15fb, [2, 0, 0]));
    scratch.write("vm.toml", &vm(&[NETWORK], ""));
    for arguments in [&[][..], &["vm.toml"]] {
        let (lines, answer) = checks(&scratch, arguments);
        assert_eq!(answer["verdict"], "warn", "{lines:?}");
        assert!(lines.iter().filter(|line| *line == "warn RF0448 host").count() >= 3, "{lines:?}");
    }
    // A kernel that has none says so, and why.
    write(&root, "proc/cmdline", "intel_iommu=off");
    std::fs::create_dir_all(root.join("sys/class/iommu")).expect("a folder");
    let (lines, answer) = checks(&scratch, &[]);
    assert!(lines.contains(&"fail RF0442 host".to_owned()), "{lines:?}");
    says(find(&answer, "RF0442", "host"), "remedy", &["intel_iommu=off", "boot without it"]);
}
