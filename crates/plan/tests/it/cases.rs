//! Every case, A to S, by name.

use ringfence_addr::{Gpa, PciAddress};
use ringfence_host::{Fact, IommuMaker, Owners, RegionKind};
use ringfence_plan::{
    Assigned, Case, Hotplug, Machine, Policy, Request, Risk, Use, Vcpu, plan, refusals,
};
use ringfence_refusal::{Code, Refusal};

use crate::support::*;

fn cases(plan: &ringfence_plan::Plan) -> Vec<Case> {
    plan.settlements.iter().flat_map(|one| one.cases.clone()).collect()
}

fn codes(refusals: &[Refusal]) -> Vec<&'static Code> {
    refusals.iter().map(Refusal::code).collect()
}

#[test]
fn a_inside_low_memory_becomes_a_hole_by_ending_low_memory_there() {
    let host = host(vec![stolen(0x7b80_0000, 0x7fff_ffff)]);
    let plan = planned(&host, &request(Machine::Q35, 4 * GIB));
    assert!(cases(&plan).contains(&Case::A));
    assert_eq!(plan.settings.low_bytes, Some(0x7b80_0000));
    assert_eq!(spans(&plan, Use::Hole), [gpa(0x7b80_0000, 0x7fff_ffff)]);
    assert_eq!(usable(&plan), 4 * GIB);
    assert_eq!(plan.settings.memory_bytes, 4 * GIB, "a hole costs no memory");
}

#[test]
fn a_inside_low_memory_that_cannot_end_lower_is_kept_off_and_made_up_for() {
    let host = host(vec![stolen(0x7b80_0000, 0x7fff_ffff)]);
    let plan = planned(&host, &request(Machine::CloudHypervisor, 4 * GIB));
    assert_eq!(spans(&plan, Use::Reserved), [gpa(0x7b80_0000, 0x7fff_ffff)]);
    assert_eq!(usable(&plan), 4 * GIB);
    assert_eq!(plan.settings.memory_bytes, 4 * GIB + 72 * MIB);
    assert!(plan.risks.iter().any(|risk| risk.case == Case::P), "{:?}", plan.risks);
    assert!(plan.risks.iter().any(|risk| risk.case == Case::R), "{:?}", plan.risks);
}

#[test]
fn a_identity_lies_in_the_vms_own_memory_at_the_hosts_address() {
    let host = host(vec![stolen(0x7b80_0000, 0x7fff_ffff)]);
    let plan = planned(&host, &with(Machine::Q35, 4 * GIB, Policy::Identity));
    assert_eq!(spans(&plan, Use::Identity), [gpa(0x7b80_0000, 0x7fff_ffff)]);
    assert_eq!(plan.settings.low_bytes, None);
    assert!(plan.map.iter().all(|entry| entry.usage != Use::Identity || entry.backed));
    assert_eq!(usable(&plan), 4 * GIB);
}

#[test]
fn b_across_the_end_of_low_memory() {
    let host = host(vec![stolen(0x7c00_0000, 0x807f_ffff)]);
    let hole = planned(&host, &request(Machine::Q35, 4 * GIB));
    assert!(cases(&hole).contains(&Case::B));
    assert_eq!(hole.settings.low_bytes, Some(0x7c00_0000));
    // q35 cannot raise the end of low memory, so there is no memory for all of it.
    let refused = refused(&host, &with(Machine::Q35, 4 * GIB, Policy::Identity));
    assert_eq!(codes(&refused), [&refusals::NOT_EXPRESSIBLE]);
    // i440fx has low memory up to 3 GiB.
    let identity = planned(&host, &with(Machine::I440fx, 4 * GIB, Policy::Identity));
    assert_eq!(spans(&identity, Use::Identity), [gpa(0x7c00_0000, 0x807f_ffff)]);
}

#[test]
fn c_beside_memory_is_a_hole_in_the_window() {
    let host = host(vec![stolen(0x9c00_0000, 0xa07f_ffff)]);
    let plan = planned(&host, &request(Machine::Q35, 4 * GIB));
    assert!(cases(&plan).contains(&Case::C));
    assert_eq!(plan.settings.low_bytes, None);
    assert_eq!(spans(&plan, Use::Hole), [gpa(0x9c00_0000, 0xa07f_ffff)]);
    assert!(
        spans(&plan, Use::Window)
            .iter()
            .all(|window| !window.overlaps(&gpa(0x9c00_0000, 0xa07f_ffff)))
    );
    assert_eq!(plan.settings.keep_off, [gpa(0x9c00_0000, 0xa07f_ffff)]);
    let refused = refused(&host, &with(Machine::Q35, 4 * GIB, Policy::Identity));
    assert_eq!(codes(&refused), [&refusals::NOT_EXPRESSIBLE]);
    let own = planned(&host, &with(Machine::Library, 4 * GIB, Policy::Identity));
    assert_eq!(own.settings.own_blocks, [gpa(0x9c00_0000, 0xa07f_ffff)]);
    assert_eq!(usable(&own), 4 * GIB);
}

#[test]
fn d_below_1_mib_stays_and_is_told() {
    let host = host(vec![region(0xe_0000, 0xe_7fff, RegionKind::Relaxable, &[USB])]);
    for machine in Machine::ALL {
        let mut request = request(machine, 2 * GIB);
        request.devices[0].address = at(USB);
        let plan = planned(&host, &request);
        assert!(cases(&plan).contains(&Case::D), "{machine}");
        assert_eq!(spans(&plan, Use::Reserved), [gpa(0xe_0000, 0xe_7fff)], "{machine}");
        assert!(usable(&plan) >= 2 * GIB && usable(&plan) < 2 * GIB + 2 * MIB, "{machine}");
        assert!(plan.risks.iter().any(|risk| risk.case == Case::D), "{machine}");
    }
}

#[test]
fn e_on_what_the_machine_has_fixed() {
    let host = host(vec![stolen(0xb000_0000, 0xb1ff_ffff)]);
    let plan = planned(&host, &request(Machine::Q35, 4 * GIB));
    assert!(cases(&plan).contains(&Case::E));
    let refused = refused(&host, &with(Machine::Q35, 4 * GIB, Policy::Identity));
    assert_eq!(codes(&refused), [&refusals::UNSATISFIABLE]);
    assert!(refused[0].detail().contains("ECAM"), "{refused:?}");
}

#[test]
fn e_memory_on_the_interrupt_window_cannot_be_had() {
    // As the LX2160 has it: a region of 256 MiB with the interrupt controller's page in it.
    let host = host(vec![
        region(0x100_0000, 0x10ff_ffff, RegionKind::Relaxable, &[USB]),
        region(0x800_0000, 0x80f_ffff, RegionKind::SoftwareMsi, &[]),
    ]);
    let mut request = with(Machine::Library, 4 * GIB, Policy::Identity);
    request.devices[0].address = at(USB);
    let refused = refused(&host, &request);
    assert_eq!(codes(&refused), [&refusals::UNSATISFIABLE]);
}

#[test]
fn f_inside_memory_above_4_gib() {
    let host = host(vec![stolen(0x1_2000_0000, 0x1_23ff_ffff)]);
    let kept = planned(&host, &request(Machine::Q35, 8 * GIB));
    assert!(cases(&kept).contains(&Case::F));
    assert_eq!(spans(&kept, Use::Reserved), [gpa(0x1_2000_0000, 0x1_23ff_ffff)]);
    assert_eq!(usable(&kept), 8 * GIB);
    let split = planned(&host, &request(Machine::Library, 8 * GIB));
    assert_eq!(spans(&split, Use::Hole), [gpa(0x1_2000_0000, 0x1_23ff_ffff)]);
    assert_eq!(usable(&split), 8 * GIB);
}

#[test]
fn g_above_what_the_guest_can_address() {
    let host = host(vec![stolen(0x60_0000_0000, 0x60_03ff_ffff)]);
    let mut request = request(Machine::Q35, 4 * GIB);
    request.address_bits = Some(38);
    let plan = planned(&host, &request);
    assert!(cases(&plan).contains(&Case::G));
    assert_eq!(plan.settings.address_bits, 38);
}

#[test]
fn h_memory_above_what_the_iommu_translates() {
    let host = host(vec![]);
    let refused = refused(&host, &request(Machine::Q35, 1024 * GIB));
    assert_eq!(codes(&refused), [&refusals::OUT_OF_REACH]);
    assert!(refused[0].detail().contains("39 bits"), "{refused:?}");
    let plan = planned(&host, &request(Machine::Q35, 400 * GIB));
    assert!(plan.map.iter().all(|entry| entry.span.last().get() < 1 << 39));
}

#[test]
fn h_an_unknown_width_is_said() {
    let mut host = host(vec![]);
    host.address_bits = Fact::default();
    let plan = planned(&host, &request(Machine::Q35, 4 * GIB));
    assert!(plan.risks.iter().any(|risk| risk.case == Case::H), "{:?}", plan.risks);
}

#[test]
fn i_the_strongest_of_regions_on_one_another_decides() {
    let host = host(vec![
        stolen(0x7b80_0000, 0x7fff_ffff),
        region(0x7c00_0000, 0x7c00_0fff, RegionKind::Reserved, &[]),
    ]);
    let plan = planned(&host, &request(Machine::Q35, 4 * GIB));
    assert!(cases(&plan).contains(&Case::I));
    let refused = refused(&host, &with(Machine::Q35, 4 * GIB, Policy::Identity));
    assert_eq!(codes(&refused), [&refusals::UNSATISFIABLE]);
    // Cloud Hypervisor can leave nothing out.
    let refused = crate::support::refused(&host, &request(Machine::CloudHypervisor, 4 * GIB));
    assert_eq!(codes(&refused), [&refusals::RESERVED_IN_MEMORY]);
}

#[test]
fn j_devices_with_one_region_go_together() {
    let shared = region(0x7b80_0000, 0x7b80_ffff, RegionKind::Relaxable, &[USB, "0000:00:1d.0"]);
    let host = host(vec![shared]);
    let mut request = request(Machine::Q35, 4 * GIB);
    request.devices[0].address = at(USB);
    let refused = refused(&host, &request);
    assert_eq!(codes(&refused), [&refusals::SHARED_REGION]);
    assert!(refused[0].detail().contains("0000:00:1d.0"), "{refused:?}");
    request.shared_allowed = true;
    planned(&host, &request);
    request.shared_allowed = false;
    request.devices.push(Assigned { address: at("0000:00:1d.0"), policy: None, guest: None });
    assert!(cases(&planned(&host, &request)).contains(&Case::J));
}

#[test]
fn k_memory_to_be_plugged_keeps_off() {
    let host = host(vec![stolen(0x1_8000_0000, 0x1_83ff_ffff)]);
    let mut request = request(Machine::Q35, 4 * GIB);
    request.hotplug = Hotplug { bytes: 4 * GIB, slots: 1 };
    let refused = refused(&host, &request);
    assert_eq!(codes(&refused), [&refusals::HOTPLUG]);
    request.machine = Machine::Library;
    let plan = planned(&host, &request);
    assert_eq!(spans(&plan, Use::Hotplug), [gpa(0x1_c000_0000, 0x2_ffff_ffff)]);
}

#[test]
fn l_a_device_to_be_plugged_later_is_planned_for_now() {
    let host = host(vec![stolen(0x7b80_0000, 0x7fff_ffff)]);
    let mut request = request(Machine::Q35, 4 * GIB);
    request.later = std::mem::take(&mut request.devices);
    let plan = planned(&host, &request);
    assert!(cases(&plan).contains(&Case::L));
    assert_eq!(spans(&plan, Use::Hole), [gpa(0x7b80_0000, 0x7fff_ffff)]);
}

#[test]
fn m_boundaries_that_break_large_pages_are_said() {
    let host = host(vec![region(0x7b81_1000, 0x7b83_0fff, RegionKind::Relaxable, &[USB])]);
    let mut request = request(Machine::CloudHypervisor, 4 * GIB);
    request.devices[0].address = at(USB);
    let plan = planned(&host, &request);
    assert!(cases(&plan).contains(&Case::M));
    // A VMM that places anything gives up whole large pages instead.
    request.machine = Machine::Library;
    let split = planned(&host, &request);
    assert!(spans(&split, Use::Ram).iter().all(|ram| ram.first().get() % (2 * MIB) == 0));
}

/// A host behind AMD-Vi: HyperTransport has its hole.
fn amd() -> ringfence_host::HostMemory {
    let mut host = host(vec![region(0xfd_0000_0000, 0xff_ffff_ffff, RegionKind::Reserved, &[])]);
    host.iommu = Fact::Known(IommuMaker::Amd);
    host.address_bits = Fact::Known(48);
    host
}

#[test]
fn n_hypertransports_hole_is_kept_for_amds_vcpus_alone() {
    let mut request = request(Machine::Q35, 1020 * GIB);
    let plan = planned(&amd(), &request);
    // As QEMU does: measured with `-cpu EPYC -m 1020G`.
    assert_eq!(plan.settings.high_first, Gpa::new(1 << 40));
    assert!(plan.settings.amd_vcpu);
    assert_eq!(spans(&plan, Use::Ram)[1], gpa(0x100_0000_0000, 0x1fe_7fff_ffff));
    request.vcpu = Some(Vcpu::Intel);
    let refused = refused(&amd(), &request);
    assert_eq!(codes(&refused), [&refusals::RESERVED_IN_MEMORY]);
    assert!(refused[0].detail().contains("AMD"), "{refused:?}");
    request.machine = Machine::Library;
    let split = planned(&amd(), &request);
    assert_eq!(spans(&split, Use::Hole), [gpa(0xfd_0000_0000, 0xff_ffff_ffff)]);
    assert_eq!(usable(&split), 1020 * GIB);
}

#[test]
fn o_a_fleet_keeps_off_what_is_set_apart_on_any_host() {
    let mut other = host(vec![stolen(0x4b80_0000, 0x4fff_ffff)]);
    other.address_bits = Fact::Known(36);
    let hosts = [host(vec![stolen(0x7b80_0000, 0x7fff_ffff)]), other];
    let plan = plan(&hosts, &request(Machine::Q35, 4 * GIB)).unwrap();
    assert!(cases(&plan).contains(&Case::O));
    assert_eq!(plan.settings.address_bits, 36);
    assert_eq!(plan.settings.low_bytes, Some(0x4b80_0000));
    let holes = spans(&plan, Use::Hole);
    assert_eq!(holes, [gpa(0x4b80_0000, 0x4fff_ffff), gpa(0x7b80_0000, 0x7fff_ffff)]);
}

#[test]
fn p_and_r_a_hole_is_preferred_to_memory_told_to_be_kept_off() {
    let host = host(vec![stolen(0x7b80_0000, 0x7fff_ffff)]);
    let hole = planned(&host, &request(Machine::Q35, 4 * GIB));
    let early = |risk: &Risk| matches!(risk.case, Case::P | Case::R);
    assert!(!hole.risks.iter().any(early), "{:?}", hole.risks);
    let reserve = planned(&host, &with(Machine::Q35, 4 * GIB, Policy::Reserve));
    assert_eq!(spans(&reserve, Use::Reserved), [gpa(0x7b80_0000, 0x7fff_ffff)]);
    assert!(reserve.risks.iter().any(early), "{:?}", reserve.risks);
}

#[test]
fn q_64_bit_base_addresses_lie_within_reach() {
    let host = host(vec![]);
    let plan = planned(&host, &request(Machine::Q35, 476 * GIB));
    let window = *spans(&plan, Use::Window).last().unwrap();
    assert_eq!(window.last().get(), (510 << 30) - 1);
    // QEMU 11.1.3: "Address space limit 0x7fffffffff < 0x857fffffff phys-bits too low (39)".
    let refused = refused(&host, &request(Machine::Q35, 500 * GIB));
    assert_eq!(codes(&refused), [&refusals::OUT_OF_REACH]);
    // Others leave less room, or none.
    let plan = planned(&host, &request(Machine::CloudHypervisor, 500 * GIB));
    let window = *spans(&plan, Use::Window).last().unwrap();
    assert_eq!(window.last().get(), (1 << 39) - 1);
    let full = planned(&host, &request(Machine::CloudHypervisor, 511 * GIB));
    assert!(full.risks.iter().any(|risk| risk.case == Case::Q), "{:?}", full.risks);
}

#[test]
fn s_two_graphics_devices() {
    let mut second = stolen(0x7000_0000, 0x73ff_ffff);
    let other = at("0001:00:02.0");
    second.owners = Owners::These([other].into());
    let host = host(vec![stolen(0x7b80_0000, 0x7fff_ffff), second]);
    let mut request = request(Machine::Q35, 4 * GIB);
    request.devices.push(Assigned { address: other, policy: None, guest: None });
    let refused = refused(&host, &request);
    assert_eq!(codes(&refused), [&refusals::TWO_GRAPHICS]);
}

#[test]
fn a_direct_region_refuses_wherever_it_lies() {
    let host = host(vec![region(0x9000_0000, 0x9000_ffff, RegionKind::Direct, &[])]);
    let mut request = request(Machine::Q35, 4 * GIB);
    assert_eq!(codes(&refused(&host, &request)), [&refusals::DIRECT_REGION]);
    request.direct_allowed = true;
    assert_eq!(spans(&planned(&host, &request), Use::Hole), [gpa(0x9000_0000, 0x9000_ffff)]);
}

#[test]
fn policies_that_only_some_can_carry_out() {
    let graphics = host(vec![stolen(0x9c00_0000, 0xa07f_ffff)]);
    for (machine, policy, code) in [
        (Machine::Q35, Policy::Overlay, Some(&refusals::NOT_EXPRESSIBLE)),
        (Machine::Q35, Policy::Trapped, Some(&refusals::NOT_EXPRESSIBLE)),
        (Machine::CloudHypervisor, Policy::Relocate, Some(&refusals::NOT_EXPRESSIBLE)),
        (Machine::Q35, Policy::Refuse, Some(&refusals::POLICY_REFUSES)),
        (Machine::Q35, Policy::Relocate, None),
        (Machine::I440fx, Policy::None, None),
        (Machine::Library, Policy::Overlay, None),
        (Machine::Library, Policy::Trapped, None),
    ] {
        let answer = plan(std::slice::from_ref(&graphics), &with(machine, 4 * GIB, policy));
        let codes = answer.as_ref().err().map(|refusals| codes(refusals));
        assert_eq!(codes, code.map(|code| vec![code]), "{machine} {policy}");
    }
    let usb = host(vec![region(0x9c00_0000, 0x9c00_ffff, RegionKind::Relaxable, &[USB])]);
    let mut request = with(Machine::Q35, 4 * GIB, Policy::Relocate);
    request.devices[0].address = at(USB);
    assert_eq!(codes(&refused(&usb, &request)), [&refusals::NOT_GRAPHICS]);
}

#[test]
fn what_does_not_concern_the_devices_moves_nothing() {
    let plain = host(vec![stolen(0x7b80_0000, 0x7fff_ffff)]);
    let mut more = plain.clone();
    let others: [&[&str]; 2] = [&[USB], &["0000:05:00.0"]];
    for (place, owners) in (0x1000_0000_u64..).step_by(0x10_0000).zip(others) {
        more.regions.push(region(place, place + 0xfff, RegionKind::Direct, owners));
    }
    let request: Request = request(Machine::Q35, 4 * GIB);
    assert_eq!(planned(&plain, &request), planned(&more, &request));
    let mut reversed = plain.clone();
    reversed.regions.reverse();
    assert_eq!(planned(&plain, &request), planned(&reversed, &request));
    let _: PciAddress = at(GRAPHICS);
}
