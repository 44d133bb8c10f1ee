//! Guests that see an IOMMU: what it is told, for whom, and where that cannot be.

use ringfence_addr::{Hpa, Span};
use ringfence_host::{RegionKind, Role};
use ringfence_plan::check::{Rule, check};
use ringfence_plan::emit::{Consumer, Emitted, Surroundings, emit};
use ringfence_plan::{Machine, Plan, Policy, Request, Viommu, refusals};
use ringfence_tables::{Content, Table, codes, reserved_regions};

use crate::support::*;

const FOLDER: Surroundings<'_> = Surroundings { folder: Some("/vm"), kernel: None, initrd: None };

/// Where the guest finds the graphics device: not where the host has it.
const IN_GUEST: &str = "0000:00:04.0";

/// A VM with the graphics device's memory at the host's place.
fn asked(machine: Machine, viommu: Viommu, policy: Policy) -> Request {
    let mut request = with(machine, 4 * GIB, policy);
    request.viommu = Some(viommu);
    request.devices[0].guest = Some(at(IN_GUEST));
    request
}

fn host_with_stolen() -> ringfence_host::HostMemory {
    host(vec![stolen(0x7b80_0000, 0x7fff_ffff)])
}

fn plan_of(machine: Machine, viommu: Viommu, policy: Policy) -> Plan {
    planned(&host_with_stolen(), &asked(machine, viommu, policy))
}

/// The table of this name, without anything odd about it but what the VMM must see to.
fn table(emitted: &Emitted, name: &str) -> Table {
    let file = emitted.files.iter().find(|file| file.name == name);
    let (table, findings) =
        Table::read(&file.unwrap_or_else(|| panic!("{emitted:?}")).bytes).unwrap();
    let odd: Vec<_> = findings.iter().map(|finding| finding.code.name).collect();
    let expected = [&codes::RMR_NEEDS_DSM, &codes::RMRR_SHARED].map(|code| code.name);
    assert!(odd.iter().all(|name| expected.contains(name)), "{odd:?}");
    table
}

/// What it reserves, and for whom.
fn reserved(table: &Table) -> Vec<(u64, u64, Vec<String>)> {
    let regions = reserved_regions([table]).into_iter();
    let names = |region: &ringfence_tables::ReservedRegion| {
        region.devices.iter().map(ToString::to_string).collect()
    };
    regions.map(|one| (one.span.first().get(), one.span.last().get(), names(&one))).collect()
}

#[test]
fn each_kind_has_its_table_for_the_device_where_the_guest_finds_it() {
    let every = [
        (Machine::Q35, Viommu::Intel, "ringfence-dmar.aml"),
        (Machine::Library, Viommu::Intel, "ringfence-dmar.aml"),
        (Machine::Q35, Viommu::Amd, "ringfence-ivrs.aml"),
        (Machine::Library, Viommu::Amd, "ringfence-ivrs.aml"),
        (Machine::Library, Viommu::SmmuV3, "ringfence-iort.aml"),
    ];
    for (machine, viommu, name) in every {
        let plan = plan_of(machine, viommu, Policy::Identity);
        let emitted = emit(&plan, FOLDER, Consumer::Acpi).unwrap();
        let table = table(&emitted, name);
        let expected = (0x7b80_0000, 0x7fff_ffff, vec![IN_GUEST.to_owned()]);
        assert_eq!(reserved(&table), [expected], "{machine} {viommu}");
        // Linux takes it in place of QEMU's only if it has the same names and is newer.
        let header = &table.header;
        let is_qemus = (&header.oem_id, &header.oem_table_id) == (b"BOCHS ", b"BXPC    ");
        assert_eq!(is_qemus && header.oem_revision > 1, machine == Machine::Q35);
        assert_eq!(emitted.files.iter().any(|file| file.name.ends_with(".cpio")), is_qemus);
        assert!(emitted.text.contains("0x7b800000-0x7fffffff one to one for 0000:00:04.0"));
        let notes = emitted.notes.join("\n");
        assert_eq!(notes.contains("_DSM"), viommu == Viommu::SmmuV3, "{notes}");
    }
}

#[test]
fn a_region_of_several_devices_is_told_once_and_pieces_apart() {
    let mut both = region(0x7a00_0000, 0x7a00_ffff, RegionKind::Relaxable, &[GRAPHICS, USB]);
    both.role = Role::Other;
    let more = region(0x7a00_8800, 0x7a01_ffff, RegionKind::Relaxable, &[USB]);
    let mut request = asked(Machine::Q35, Viommu::Intel, Policy::Identity);
    let mut usb = request.devices[0];
    (usb.address, usb.guest) = (at(USB), Some(at("0000:00:05.0")));
    request.devices.push(usb);
    let host = host(vec![both, more]);
    let plan = planned(&host, &request);
    assert_eq!(check(std::slice::from_ref(&host), &request, &plan), []);
    let table = table(&emit(&plan, FOLDER, Consumer::Acpi).unwrap(), "ringfence-dmar.aml");
    let [one, other] = [IN_GUEST, "0000:00:05.0"].map(str::to_owned);
    let expected = [
        (0x7a00_0000, 0x7a00_ffff, vec![one, other.clone()]),
        (0x7a01_0000, 0x7a01_ffff, vec![other]),
    ];
    assert_eq!(reserved(&table), expected);
    // The unit is for all devices, whether or not a region is theirs.
    let Content::Dmar(dmar) = &table.content else { panic!("{table:?}") };
    assert!(dmar.drhds().all(|(_, unit)| unit.includes_all()));
}

#[test]
fn an_smmu_is_told_in_units_of_64_kib_that_are_kept_off() {
    let small = region(0x7a00_8000, 0x7a00_8fff, RegionKind::Relaxable, &[GRAPHICS]);
    let request = asked(Machine::Library, Viommu::SmmuV3, Policy::Identity);
    let host = host(vec![small]);
    let plan = planned(&host, &request);
    assert_eq!(check(std::slice::from_ref(&host), &request, &plan), []);
    let table = table(&emit(&plan, FOLDER, Consumer::Acpi).unwrap(), "ringfence-iort.aml");
    assert_eq!(reserved(&table), [(0x7a00_0000, 0x7a00_ffff, vec![IN_GUEST.to_owned()])]);
    assert!(plan.settings.keep_off.contains(&gpa(0x7a00_0000, 0x7a00_ffff)));
}

#[test]
fn qemu_is_given_the_iommu_and_the_guest_its_table_in_the_initial_ramdisk() {
    let mut kernel = vec![0; 0x400];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    let around = Surroundings { kernel: Some(&kernel), initrd: Some(b"the guest's own"), ..FOLDER };
    let every = [
        (Viommu::Intel, "-device intel-iommu,intremap=on,caching-mode=on,aw-bits=39\n"),
        (
            Viommu::Amd,
            "-device AMDVI-PCI,id=ringfence-iommu,addr=1e.0\n\
             -device amd-iommu,pci-id=ringfence-iommu,intremap=on,dma-remap=on\n",
        ),
    ];
    for (viommu, lines) in every {
        let plan = plan_of(Machine::Q35, viommu, Policy::Identity);
        let emitted = emit(&plan, around, Consumer::Qemu).unwrap();
        assert!(emitted.text.contains(lines), "{}", emitted.text);
        assert!(emitted.text.contains(",kernel-irqchip=split\n"), "{}", emitted.text);
        assert!(emitted.text.contains("-initrd /vm/ringfence-initrd\n"), "{}", emitted.text);
        let initrd = emitted.files.iter().find(|file| file.name == "ringfence-initrd").unwrap();
        assert!(initrd.bytes.starts_with(b"070701") && initrd.bytes.ends_with(b"the guest's own"));
    }
    // The IOMMU's own function keeps out of the way of what is put into the guest.
    let mut request = asked(Machine::Q35, Viommu::Amd, Policy::Identity);
    request.devices[0].guest = Some(at("0000:00:1e.0"));
    let plan = planned(&host_with_stolen(), &request);
    let emitted = emit(&plan, around, Consumer::Qemu).unwrap();
    assert!(emitted.text.contains("AMDVI-PCI,id=ringfence-iommu,addr=1d.0"), "{}", emitted.text);
    // Without regions the IOMMU is there all the same, and nothing is to be told.
    let plan = plan_of(Machine::Q35, Viommu::Intel, Policy::Hole);
    let emitted = emit(&plan, FOLDER, Consumer::Qemu).unwrap();
    assert!(emitted.text.contains("intel-iommu") && !emitted.text.contains("-initrd"));
    assert!(plan.risks.iter().any(|risk| risk.text.contains("`identity`")), "{:?}", plan.risks);
}

#[test]
fn a_device_that_the_guest_finds_nowhere_known_is_refused() {
    let mut request = asked(Machine::Q35, Viommu::Intel, Policy::Identity);
    request.devices[0].guest = None;
    let refused = refused(&host_with_stolen(), &request);
    assert_eq!(refused[0].code(), &refusals::NO_GUEST_ADDRESS);
    assert!(refused[0].detail().contains("0000:00:02.0"), "{refused:?}");
    // Of a hole nothing is told.
    request.devices[0].policy = Some(Policy::Hole);
    assert_eq!(planned(&host_with_stolen(), &request).viommu.unwrap().regions, []);
}

#[test]
fn what_a_machine_or_an_iommu_cannot_do_is_refused_with_another_way() {
    let every = [
        (Machine::I440fx, Viommu::Intel, "machine = \"q35\""),
        (Machine::I440fx, Viommu::Amd, "machine = \"q35\""),
        (Machine::Q35, Viommu::SmmuV3, "intel-iommu"),
        (Machine::Q35, Viommu::Virtio, "intel-iommu"),
        (Machine::CloudHypervisor, Viommu::Virtio, "holes"),
        (Machine::CloudHypervisor, Viommu::Intel, "q35"),
    ];
    for (machine, viommu, way) in every {
        let request = asked(machine, viommu, Policy::Identity);
        let refused = refused(&host_with_stolen(), &request);
        let detail = refused[0].detail();
        assert_eq!(refused[0].code(), &refusals::NOT_BY_VIOMMU, "{machine} {viommu}");
        assert!(detail.contains(way), "{machine} {viommu}: {detail}");
    }
    // Its tables have no word for it, a device tree has.
    let plan = plan_of(Machine::Library, Viommu::Virtio, Policy::Identity);
    let refusal = emit(&plan, FOLDER, Consumer::Acpi).unwrap_err();
    assert_eq!(refusal.code(), &refusals::CANNOT_BE_TOLD);
    assert!(refusal.detail().contains("--for dtb"), "{refusal}");
    emit(&plan, FOLDER, Consumer::DeviceTree).unwrap();
    // As addresses not to be used it answers with a region itself.
    let plan = plan_of(Machine::Library, Viommu::Virtio, Policy::Reserve);
    let emitted = emit(&plan, FOLDER, Consumer::Acpi).unwrap();
    let line = "endpoint 0x0020 (0000:00:04.0): reserved 0x7b800000-0x7fffffff\n";
    assert!(emitted.text.contains(line), "{}", emitted.text);
    assert!(emitted.notes[1].contains("0x7b800000:0x7fffffff:0"), "{:?}", emitted.notes);
    // Beyond what VT-d's page tables of four levels reach.
    let mut far = host(vec![stolen(1 << 49, (1 << 49) + 0xfff)]);
    far.address_bits = ringfence_host::Fact::Known(52);
    let refused = refused(&far, &asked(Machine::Library, Viommu::Intel, Policy::Identity));
    assert!(refused[0].detail().contains("beyond"), "{refused:?}");
    for (consumer, plan) in [
        (Consumer::Xl, plan_of(Machine::Q35, Viommu::Intel, Policy::Hole)),
        (Consumer::Libvirt, plan_of(Machine::Q35, Viommu::Amd, Policy::Hole)),
    ] {
        let refusal = emit(&plan, FOLDER, consumer).unwrap_err();
        assert_eq!(refusal.code(), &refusals::CANNOT_BE_TOLD, "{consumer}");
    }
    let plan = plan_of(Machine::Q35, Viommu::Intel, Policy::Hole);
    let xml = emit(&plan, FOLDER, Consumer::Libvirt).unwrap().text;
    assert!(xml.contains("<iommu model='intel'>") && xml.contains("ioapic"), "{xml}");
}

#[test]
fn a_bus_whose_number_is_firmwares_to_give_is_a_risk() {
    let mut request = asked(Machine::Q35, Viommu::Amd, Policy::Identity);
    request.devices[0].guest = Some(at("0000:01:00.0"));
    let plan = planned(&host_with_stolen(), &request);
    assert!(plan.risks.iter().any(|risk| risk.text.contains("bus 0x01")), "{:?}", plan.risks);
    let refusal = emit(&plan, FOLDER, Consumer::DeviceTree).unwrap_err();
    assert!(refusal.detail().contains("root bus"), "{refusal}");
}

#[test]
fn the_checker_finds_another_scope() {
    let request = asked(Machine::Q35, Viommu::Intel, Policy::Identity);
    let host = [host_with_stolen()];
    let plan = planned(&host[0], &request);
    assert_eq!(check(&host, &request, &plan), []);
    let mut wrong = plan.clone();
    let region = &mut wrong.viommu.as_mut().unwrap().regions[0];
    region.devices = [at(GRAPHICS)].into();
    let found = check(&host, &request, &wrong);
    assert!(found.iter().any(|one| one.rule == Rule::GuestIommu), "{found:?}");
}

#[test]
fn what_another_region_cuts_through_is_not_told_in_units_that_cover_that_too() {
    // An interrupt controller's page within the device's memory.
    let mut region = stolen(0x7b80_0000, 0x7fff_ffff);
    region.kind = RegionKind::SoftwareMsi;
    region.role = Role::Other;
    region.span = Span::new(Hpa::new(0x7c00_0000), Hpa::new(0x7c00_0fff)).unwrap();
    let host = host(vec![stolen(0x7b80_0000, 0x7fff_ffff), region]);
    let request = asked(Machine::Library, Viommu::SmmuV3, Policy::Reserve);
    let refused = refused(&host, &request);
    assert_eq!(refused[0].code(), &refusals::NOT_BY_VIOMMU);
    let detail = refused[0].detail();
    assert!(detail.contains("0x7c001000-0x7fffffff") && detail.contains("hole"), "{detail}");
}
