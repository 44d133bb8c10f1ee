//! `tables`, over tables made here: some in order, some not.

use expect_test::expect;
use ringfence_tables::{
    Block, Content, Dmar, Drhd, Header, Ivmd, Ivrs, Rmrr, Scope, ScopeKind, Scopes, Structure,
    Table,
};
use serde_json::Value;

use crate::program::{Outcome, Scratch, outcome};
use crate::schema;

fn endpoint(path: &[[u8; 2]]) -> Scopes {
    Scopes { list: vec![Scope::new(ScopeKind::Endpoint, 0, path)], rest: Vec::new() }
}

fn rmrr(base: u64, limit: u64, scopes: Scopes) -> Structure {
    Structure::Rmrr(Rmrr { reserved: 0, segment: 0, base, limit, scopes })
}

fn dmar() -> Table {
    let (flags, size, segment, base) = (1, 0, 0, 0xfed9_0000);
    let unit = Drhd { flags, size, segment, base, scopes: Scopes::default() };
    let structures = vec![
        Structure::Drhd(unit),
        rmrr(0x7b00_0000, 0x7f7f_ffff, endpoint(&[[2, 0]])),
        rmrr(0x2e00_0000, 0x2e00_0ffe, endpoint(&[[0x1c, 0], [0, 0]])),
    ];
    Table::new(Header::new(*b"DMAR", 1), Content::Dmar(Dmar::new(39, structures)))
}

fn ivrs() -> Table {
    let ivmd = Ivmd { flags: 8, ..Ivmd::unity(0, 0xfff, 0x1000_0000, 1) };
    Table::new(Header::new(*b"IVRS", 2), Content::Ivrs(Ivrs::new(0, vec![Block::Ivmd(ivmd)])))
}

fn scratch(test: &str) -> Scratch {
    let scratch = Scratch::new(test);
    std::fs::write(scratch.path().join("dmar.bin"), dmar().write()).expect("a file");
    std::fs::write(scratch.path().join("ivrs.bin"), ivrs().write()).expect("a file");
    scratch
}

fn run(scratch: &Scratch, arguments: &[&str]) -> Outcome {
    outcome(&mut scratch.ringfence(arguments))
}

#[test]
fn a_table_is_shown_with_what_it_reserves_and_what_is_odd() {
    let scratch = scratch("tables-text");
    let shown = run(&scratch, &["tables", "dmar.bin"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    expect![[r#"
        dmar.bin
        DMAR, revision 1, 130 bytes, by RINGFN RINGFNCE

        OFFSET  WHAT
        0x24    DMAR  39 address bits, flags 0x1
        0x30    DRHD  registers at 0xfed90000, every other device
        0x40    RMRR  0x7b000000-0x7f7fffff, endpoint 0000:00:02.0
        0x60    RMRR  0x2e000000-0x2e000ffe, endpoint 0000:00:1c.0/00.0

        RESERVED               SIZE     KIND  DEVICES
        0x2e000000-0x2e000ffe  3.9 KiB  rmrr  0000:00:1c.0/00.0
        0x7b000000-0x7f7fffff   72 MiB  rmrr  0000:00:02.0

        warning rmrr-unaligned: A reserved region does not begin and end at pages.
          at 0x60: 0x2e000000-0x2e000ffe
          Linux: "Your BIOS is broken; bad RMRR", taints the kernel, and lists the region as it stands.
          Xen: Rounds outward to pages.
    "#]].assert_eq(&shown.stdout);
}

#[test]
fn what_is_printed_is_published() {
    let scratch = scratch("tables-json");
    let printed = run(&scratch, &["tables", "--json", "dmar.bin", "ivrs.bin"]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    schema::check("tables", &printed.stdout);
    let answer: Value = serde_json::from_str(&printed.stdout).expect("JSON");
    let tables = answer["tables"].as_array().expect("a list");
    assert_eq!(tables.len(), 2);
    assert_eq!(tables[0]["file"], "dmar.bin");
    assert_eq!(tables[1]["signature"], "IVRS");
    let region = &tables[0]["regions"][1];
    assert_eq!((&region["first"], &region["last"]), (&"0x7b000000".into(), &"0x7f7fffff".into()));
    assert_eq!(region["devices"], serde_json::json!(["0000:00:02.0"]));
    assert_eq!(region["kind"], "rmrr");
    let region = &tables[1]["regions"][0];
    assert_eq!(region["devices"], serde_json::json!(["0000:00:00.0-0000:0f:1f.7"]));
    assert_eq!(region["kind"], "ivmd-exclusion");
    let codes: Vec<&Value> =
        tables[1]["findings"].as_array().expect("a list").iter().map(|it| &it["code"]).collect();
    assert!(codes.contains(&&"ivmd-length".into()), "{codes:?}");
}

#[test]
fn what_is_rewritten_is_what_was_read() {
    let scratch = scratch("tables-rewrite");
    // Odd on purpose: a wrong checksum, and bytes behind the end.
    let mut odd = dmar().write();
    odd[9] ^= 1;
    odd.extend([1, 2, 3]);
    std::fs::write(scratch.path().join("odd.bin"), &odd).expect("a file");
    let done = run(&scratch, &["tables", "odd.bin", "--rewrite", "out.bin"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(std::fs::read(scratch.path().join("out.bin")).expect("it was written"), odd);
    assert!(done.stdout.contains("checksum") && done.stdout.contains("bytes-behind"));
    let several = run(&scratch, &["tables", "dmar.bin", "ivrs.bin", "--rewrite", "out.bin"]);
    assert_eq!(several.code, Some(2), "{}", several.stderr);
}

#[test]
fn tables_of_a_tree_are_read_with_the_functions_of_the_host() {
    let scratch = scratch("tables-tree");
    let folder = scratch.path().join("host/sys/firmware/acpi/tables");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("DMAR"), dmar().write()).expect("a file");
    let function = scratch.path().join("host/sys/bus/pci/devices/0000:00:02.0");
    std::fs::create_dir_all(&function).expect("a folder");
    std::fs::write(function.join("config"), [0; 64]).expect("a file");
    let printed = run(&scratch, &["tables", "--json", "--from", "host"]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    schema::check("tables", &printed.stdout);
    let answer: Value = serde_json::from_str(&printed.stdout).expect("JSON");
    let table = &answer["tables"][0];
    assert_eq!(table["file"], "/sys/firmware/acpi/tables/DMAR");
    assert_eq!(table["regions"][1]["functions"], serde_json::json!(["0000:00:02.0"]));
    assert_eq!(table["regions"][0]["functions"], serde_json::json!([]));
    let codes: Vec<&Value> =
        table["findings"].as_array().expect("a list").iter().map(|it| &it["code"]).collect();
    assert!(codes.contains(&&"scope-no-device".into()), "{codes:?}");
}

#[test]
fn what_is_no_table_is_said_to_be_none() {
    let scratch = scratch("tables-none");
    scratch.write("letter", "Dear Sir or Madam,\n");
    let refused = run(&scratch, &["tables", "letter"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("RF0851"), "{}", refused.stderr);
    let absent = run(&scratch, &["tables", "nowhere"]);
    assert_eq!(absent.code, Some(5), "{}", absent.stderr);
}
