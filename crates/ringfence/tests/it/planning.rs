//! `plan`, on hosts whose tables are made here.

use std::path::Path;

use expect_test::expect;
use ringfence_tables::{
    Content, Dmar, Drhd, Header, Rmrr, Scope, ScopeKind, Scopes, Structure, Table,
};
use serde_json::Value;

use crate::program::{Outcome, Scratch, outcome};
use crate::schema;

const VM: &str = "\
[vm]
name = \"desk\"
memory = \"4G\"

[[device]]
kind = \"pci\"
address = \"0000:00:02.0\"
";

fn rmrr(base: u64, limit: u64, paths: &[[u8; 2]]) -> Structure {
    let endpoint = |path: &[u8; 2]| Scope::new(ScopeKind::Endpoint, 0, std::slice::from_ref(path));
    let scopes = Scopes { list: paths.iter().map(endpoint).collect(), rest: Vec::new() };
    Structure::Rmrr(Rmrr { reserved: 0, segment: 0, base, limit, scopes })
}

/// A host of tables alone: graphics with 72 MiB below 2 GiB, and one region of two USB controllers.
fn host(scratch: &Scratch, name: &str, graphics: u64) {
    let (flags, size, segment, base) = (1, 0, 0, 0xfed9_0000);
    let unit = Drhd { flags, size, segment, base, scopes: Scopes::default() };
    let structures = vec![
        Structure::Drhd(unit),
        rmrr(graphics, graphics + (72 << 20) - 1, &[[2, 0]]),
        rmrr(0x7a00_0000, 0x7a01_ffff, &[[0x14, 0], [0x1d, 0]]),
    ];
    let table = Table::new(Header::new(*b"DMAR", 1), Content::Dmar(Dmar::new(39, structures)));
    let folder = scratch.path().join(name).join("sys/firmware/acpi/tables");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("DMAR"), table.write()).expect("a file");
}

fn scratch(test: &str, vm: &str) -> Scratch {
    let scratch = Scratch::new(test);
    host(&scratch, "here", 0x7b80_0000);
    std::fs::write(scratch.path().join("vm.toml"), vm).expect("a file");
    scratch
}

fn plan(scratch: &Scratch, arguments: &[&str]) -> Outcome {
    let arguments: Vec<_> =
        ["plan", "vm.toml", "--from", "here"].iter().chain(arguments).copied().collect();
    outcome(&mut scratch.ringfence(&arguments))
}

#[test]
fn a_map_is_shown_with_a_reason_for_every_span() {
    let scratch = scratch("plan-text", VM);
    let shown = plan(&scratch, &[]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    expect![[r#"
         GUEST MEMORY             SIZE      USE       WHY
         0x0-0x7b7fffff            1.9 GiB  ram       memory below 0x7b800000, set to leave a hole there
         0x7b800000-0x7fffffff      72 MiB  hole      no memory of the guest's: what the device still does there faults: 0x7b800000-0x7fffffff direct-relaxable (DMAR+0x40)
         0x80000000-0xafffffff     768 MiB  window    32-bit base addresses
         0xb0000000-0xbfffffff     256 MiB  platform  PCI configuration space (ECAM)
         0xc0000000-0xfebfffff    1004 MiB  window    32-bit base addresses
         0xfec00000-0xfec00fff       4 KiB  platform  I/O APIC
         0xfed00000-0xfed00fff       4 KiB  platform  HPET
         0xfed1c000-0xfed1ffff      16 KiB  platform  chipset registers
         0xfed40000-0xfed44fff      20 KiB  platform  TPM
         0xfee00000-0xfeefffff       1 MiB  hole      nothing may be mapped for devices there: 0xfee00000-0xfeefffff msi (asserted: fixed on x86)
         0xffc00000-0xffffffff       4 MiB  platform  firmware flash
         0x100000000-0x1847fffff     2 GiB  ram       memory above 4 GiB
         0x1c0000000-0x9bfffffff    32 GiB  window    64-bit base addresses

        What firmware and the host set apart
          0x7b800000-0x7fffffff direct-relaxable becomes hole (A, inside low memory)
          0xfee00000-0xfeefffff msi becomes hole (E, on a range the machine has fixed)

        What remains at risk
          A: 0x7b800000-0x7fffffff: the device's registers still name it: what it does there by itself faults in the IOMMU
    "#]].assert_eq(&shown.stdout);
}

#[test]
fn what_is_printed_is_published() {
    let scratch = scratch("plan-json", VM);
    let shown = plan(&scratch, &["--json"]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    schema::check("plan", &shown.stdout);
    let answer: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(answer["verdict"], "planned");
    assert_eq!(answer["settings"]["low_bytes"], 0x7b80_0000_u64);
    let map = answer["map"].as_array().expect("a list");
    let hole = map.iter().find(|entry| entry["use"] == "hole").expect("a hole");
    assert_eq!((&hole["first"], &hole["last"]), (&"0x7b800000".into(), &"0x7fffffff".into()));
    assert_eq!(plan(&scratch, &["--for", "json"]).stdout, shown.stdout);
}

#[test]
fn a_refusal_is_an_answer_with_its_remedy() {
    let vm = VM.replace("0000:00:02.0", "0000:00:14.0");
    let scratch = scratch("plan-refused", &vm);
    let shown = plan(&scratch, &["--json"]);
    assert_eq!(shown.code, Some(1), "{}", shown.stderr);
    schema::check("plan", &shown.stdout);
    let answer: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(answer["verdict"], "refused");
    // What no class is known of is no USB controller: its region is never given up.
    assert_eq!(answer["refusals"][0]["code"], "RF0801");
    let told = plan(&scratch, &[]);
    assert_eq!(told.code, Some(1));
    assert!(
        told.stderr.contains("RF0801") && told.stderr.contains("firmware setup"),
        "{}",
        told.stderr
    );
}

#[test]
fn files_are_written_where_they_are_told_to_be() {
    let scratch = scratch("plan-qemu", VM);
    let without = plan(&scratch, &["--for", "qemu"]);
    assert_eq!(without.code, Some(1), "{}", without.stdout);
    assert!(
        without.stderr.contains("RF0814") && without.stderr.contains("--out"),
        "{}",
        without.stderr
    );
    let told = plan(&scratch, &["--for", "qemu", "--out", "planned"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let file = scratch.path().join("planned/ringfence-ssdt.aml");
    assert!(told.stdout.contains("max-ram-below-4g=1976M"), "{}", told.stdout);
    assert!(
        told.stdout.contains(&format!("-acpitable file={}", file.display())),
        "{}",
        told.stdout
    );
    let bytes = std::fs::read(file).expect("it was written");
    assert!(Table::read(&bytes).expect("a table").1.is_empty());
}

#[test]
fn a_picture_names_both_sides() {
    let scratch = scratch("plan-svg", VM);
    let drawn = plan(&scratch, &["--for", "svg"]);
    assert_eq!(drawn.code, Some(0), "{}", drawn.stderr);
    for piece in ["<svg", "Memory of desk on q35", "class=\"hole\"", "class=\"region\"", "DMAR"] {
        assert!(drawn.stdout.contains(piece), "{piece}");
    }
}

#[test]
fn what_differs_between_hosts_and_between_vms_is_told() {
    let scratch = scratch("plan-diff", VM);
    host(&scratch, "there", 0x7300_0000);
    let differs = plan(&scratch, &["--diff", "there"]);
    assert_eq!(differs.code, Some(1), "{}", differs.stderr);
    assert!(
        differs.stdout.contains("end of low memory: 0x73000000, now 0x7b800000\n"),
        "{}",
        differs.stdout
    );
    let same = plan(&scratch, &["--diff", "here"]);
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), ""));
    let larger = VM.replace("4G", "8G");
    std::fs::write(scratch.path().join("other.toml"), larger).expect("a file");
    let differs = plan(&scratch, &["--diff", "other.toml"]);
    assert!(
        differs.stdout.contains("memory in bytes: 8589934592, now 4294967296\n"),
        "{}",
        differs.stdout
    );
}

#[test]
fn a_fleet_keeps_off_what_is_set_apart_anywhere() {
    let scratch = scratch("plan-fleet", VM);
    host(&scratch, "there", 0x7300_0000);
    let shown = plan(&scratch, &["--from", "there", "--json"]);
    let answer: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    let map = answer["map"].as_array().expect("a list");
    let holes = map.iter().filter(|entry| entry["use"] == "hole").count();
    assert_eq!(holes, 3, "two regions and the window of interrupts: {map:?}");
}

#[test]
fn a_function_that_is_not_there_is_said() {
    let scratch = scratch("plan-no-function", VM);
    let function = Path::new("here/sys/bus/pci/devices/0000:00:14.0");
    let function = scratch.path().join(function);
    std::fs::create_dir_all(&function).expect("a folder");
    std::fs::write(function.join("vendor"), "0x8086\n").expect("a file");
    let shown = plan(&scratch, &[]);
    assert_eq!(shown.code, Some(2), "{}", shown.stdout);
    assert!(shown.stderr.contains("no function 0000:00:02.0"), "{}", shown.stderr);
}

#[test]
fn a_vm_with_host_functions_is_not_run_yet() {
    let scratch = scratch("plan-run", VM);
    let shown = outcome(&mut scratch.ringfence(&["run", "vm.toml"]));
    assert_eq!(shown.code, Some(2), "{}", shown.stdout);
    assert!(
        shown.stderr.contains("RF0407") && shown.stderr.contains("0000:00:02.0"),
        "{}",
        shown.stderr
    );
}

/// A VM whose guest sees an IOMMU, and its device not where the host has it.
fn behind(viommu: &str) -> String {
    let vm = VM.replace("memory = \"4G\"", &format!("memory = \"4G\"\nviommu = \"{viommu}\""));
    vm + "regions = \"identity\"\nguest_address = \"0000:00:04.0\"\n"
}

#[test]
fn a_guests_iommu_is_told_of_a_region_and_its_kernel_checked() {
    let scratch = scratch("plan-viommu", &behind("intel-iommu"));
    let shown = plan(&scratch, &["--json"]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    schema::check("plan", &shown.stdout);
    let answer: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    let told = &answer["viommu"]["regions"][0];
    assert_eq!(
        (&told["first"], &told["devices"][0]),
        (&"0x7b800000".into(), &"0000:00:04.0".into())
    );
    let shown = plan(&scratch, &[]);
    let line = "\nWhat the guest's intel-iommu is told\n  0x7b800000-0x7fffffff of 0000:00:04.0 in the guest\n";
    assert!(shown.stdout.contains(line), "{}", shown.stdout);
    let told = plan(&scratch, &["--for", "acpi", "--out", "planned"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let file =
        std::fs::read(scratch.path().join("planned/ringfence-dmar.aml")).expect("it is there");
    let (table, findings) = Table::read(&file).expect("a table");
    assert!(findings.is_empty(), "{findings:?}");
    let regions = ringfence_tables::reserved_regions([&table]);
    assert_eq!(regions[0].devices[0].to_string(), "0000:00:04.0");

    let group = scratch.path().join("guest/sys/kernel/iommu_groups/3");
    std::fs::create_dir_all(group.join("devices/0000:00:04.0")).expect("a folder");
    std::fs::create_dir_all(scratch.path().join("guest/proc")).expect("a folder");
    std::fs::write(scratch.path().join("guest/proc/iomem"), IOMEM).expect("a file");
    let check = |lines: &str| {
        std::fs::write(group.join("reserved_regions"), lines).expect("a file");
        let arguments = ["check", "vm.toml", "--from", "here", "--guest", "guest"];
        outcome(&mut scratch.ringfence(&arguments)).stdout
    };
    let kept = "0x000000007b800000 0x000000007fffffff direct\n";
    assert!(!check(kept).contains("a buffer"), "{}", check(kept));
    assert!(check("").contains("may give 0x7b800000-0x7fffffff to a buffer of 0000:00:04.0"));
}

#[test]
fn what_a_guests_iommu_cannot_be_told_is_refused_with_another_way() {
    for (vm, code, way) in [
        (behind("intel-iommu").replace("guest_address", "#"), "RF0815", "`guest_address = "),
        (behind("virtio-iommu"), "RF0816", "`intel-iommu`"),
        (behind("smmuv3"), "RF0816", "`intel-iommu`"),
    ] {
        let scratch = scratch("plan-viommu-refused", &vm);
        let shown = plan(&scratch, &[]);
        assert_eq!(shown.code, Some(1), "{}", shown.stdout);
        assert!(shown.stderr.contains(code) && shown.stderr.contains(way), "{}", shown.stderr);
    }
}

const IOMEM: &str = "\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
00100000-7b7dbfff : System RAM
7b800000-7fffffff : pnp 00:05
100000000-1847fffff : System RAM
";

#[test]
fn a_guest_is_checked_against_its_plan() {
    let scratch = scratch("plan-check", VM);
    let folder = scratch.path().join("guest/proc");
    std::fs::create_dir_all(&folder).expect("a folder");
    let check = |iomem: &str| {
        std::fs::write(folder.join("iomem"), iomem).expect("a file");
        let arguments = ["check", "vm.toml", "--from", "here", "--guest", "guest", "--json"];
        outcome(&mut scratch.ringfence(&arguments))
    };
    let good = check(IOMEM);
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
    schema::check("check", &good.stdout);
    // The same VM without its plan: memory up to 2 GiB.
    let unplanned = IOMEM.replace("7b7dbfff", "7ffdbfff").replace("7b800000-7fffffff : pnp", "");
    let unplanned = unplanned.replace(" 00:05\n", "");
    let bad = check(&unplanned);
    assert_eq!(bad.code, Some(1), "{}", bad.stdout);
    schema::check("check", &bad.stdout);
    assert!(bad.stdout.contains("which is hole"), "{}", bad.stdout);
    let garbled = check("nothing of the kind\n");
    assert_eq!(garbled.code, Some(2), "{}", garbled.stdout);
    let plain = outcome(&mut scratch.ringfence(&["check", "vm.toml", "--from", "here"]));
    assert_eq!((plain.code, plain.stdout.as_str()), (Some(0), "the plan holds\n"));
}
