//! Plans in the words of those who carry them out.

use ringfence_plan::emit::{Consumer, Surroundings, emit};
use ringfence_plan::{Hotplug, Machine, Policy, refusals};
use ringfence_tables::{E820Extension, E820Kind, Table, read_reservations};

use crate::support::*;

const FOLDER: Surroundings<'_> = Surroundings { folder: Some("/vm,s"), kernel: None, initrd: None };

/// A Linux image as far as its header goes.
fn kernel() -> Vec<u8> {
    let mut image = vec![0; 0x400];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    image
}

#[test]
fn qemu_leaves_a_hole_and_holds_it() {
    let host = host(vec![stolen(0x7b80_0000, 0x7fff_ffff)]);
    let mut request = request(Machine::Q35, 4 * GIB);
    request.hotplug = Hotplug { bytes: 2 * GIB, slots: 2 };
    let plan = planned(&host, &request);
    let emitted = emit(&plan, FOLDER, Consumer::Qemu).unwrap();
    let lines: Vec<_> = emitted.text.lines().collect();
    assert_eq!(
        lines,
        [
            "-machine q35,max-ram-below-4g=1976M",
            "-m size=4G,slots=2,maxmem=6G",
            "-global x86_64-cpu.host-phys-bits-limit=39",
            "-acpitable file=/vm,,s/ringfence-ssdt.aml",
        ]
    );
    let (table, findings) = Table::read(&emitted.files[0].bytes).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    let held: Vec<_> =
        read_reservations(&table).unwrap().into_iter().flat_map(|one| one.spans).collect();
    assert_eq!(held, [gpa(0x7b80_0000, 0x7fff_ffff)]);
    let refusal = emit(&plan, Surroundings::default(), Consumer::Qemu).unwrap_err();
    assert_eq!(refusal.code(), &refusals::CANNOT_BE_TOLD);
    assert!(refusal.detail().contains("--out"), "{refusal}");
}

#[test]
fn qemu_tells_a_kernel_booted_directly_what_to_keep_off() {
    let host = host(vec![stolen(0x7b80_0000, 0x7fff_ffff)]);
    let plan = planned(&host, &with(Machine::Q35, 4 * GIB, Policy::Identity));
    // Firmware cannot be told.
    for kernel in [None, Some(&b"no kernel"[..])] {
        let refusal = emit(&plan, Surroundings { kernel, ..FOLDER }, Consumer::Qemu).unwrap_err();
        assert_eq!(refusal.code(), &refusals::CANNOT_BE_TOLD);
    }
    let image = kernel();
    let around = Surroundings { kernel: Some(&image), ..FOLDER };
    let emitted = emit(&plan, around, Consumer::Qemu).unwrap();
    assert!(emitted.notes.iter().any(|note| note.ends_with(": memmap=72M$0x7b800000")));
    let patched = &emitted.files.iter().find(|file| file.name == "ringfence-kernel").unwrap().bytes;
    let node = u64::from_le_bytes(patched[0x250..0x258].try_into().unwrap());
    assert!(emitted.text.contains(&format!("addr={node:#x},force-raw=on")), "{}", emitted.text);
    assert!(spans(&plan, ringfence_plan::Use::Ram)[0].contains(ringfence_addr::Gpa::new(node)));
    let blob = &emitted.files.iter().find(|file| file.name == "ringfence-e820.bin").unwrap().bytes;
    let node = E820Extension::read(blob).unwrap();
    let told: Vec<_> = node.entries.iter().map(|one| (one.span(), one.kind())).collect();
    assert_eq!(told, [(Some(gpa(0x7b80_0000, 0x7fff_ffff)), E820Kind::Reserved)]);
}

#[test]
fn others_are_told_in_their_words_or_refused() {
    let regions = vec![stolen(0x7b80_0000, 0x7fff_ffff)];
    let hole = planned(&host(regions.clone()), &request(Machine::Q35, 4 * GIB));
    let kept = planned(&host(regions.clone()), &with(Machine::Q35, 4 * GIB, Policy::Identity));
    let cloud = planned(&host(regions), &request(Machine::CloudHypervisor, 4 * GIB));
    let text = |plan, consumer| emit(plan, FOLDER, consumer).map(|emitted| emitted.text);
    let libvirt = text(&hole, Consumer::Libvirt).unwrap();
    for piece in [
        "<memory unit='KiB'>4194304</memory>",
        "<table type='raw'>/vm,s/ringfence-ssdt.aml</table>",
        "<qemu:arg value='max-ram-below-4g=1976M'/>",
        "limit='39'",
    ] {
        assert!(libvirt.contains(piece), "{piece} in {libvirt}");
    }
    assert_eq!(text(&kept, Consumer::Libvirt).unwrap_err().code(), &refusals::CANNOT_BE_TOLD);
    assert_eq!(text(&cloud, Consumer::Qemu).unwrap_err().code(), &refusals::WRONG_MACHINE);
    assert_eq!(
        text(&hole, Consumer::CloudHypervisor).unwrap_err().code(),
        &refusals::WRONG_MACHINE
    );
    let cloud = text(&cloud, Consumer::CloudHypervisor).unwrap();
    assert_eq!(
        cloud,
        "--memory size=4168M\n--cpus max_phys_bits=39\n--cmdline 'memmap=72M$0x7b800000'\n"
    );
    let xl = text(&hole, Consumer::Xl).unwrap();
    assert!(xl.contains("memory = 4096\n") && xl.contains("rdm_mem_boundary = 1975\n"), "{xl}");
    let map = text(&hole, Consumer::E820).unwrap();
    assert_eq!(
        map,
        "0x0000000000000000-0x000000007b7fffff usable\n\
         0x000000007b800000-0x000000007fffffff reserved\n\
         0x0000000100000000-0x00000001847fffff usable\n"
    );
    assert_eq!(text(&hole, Consumer::CommandLine).unwrap(), "memmap=72M$0x7b800000\n");
}
