//! Every encoding of every generation, written out.

use proptest::prelude::*;
use ringfence_addr::Span;

use super::*;

const MIB: u64 = 1 << 20;

fn platform(device: u16) -> Platform {
    Platform::of_device(device).unwrap_or_else(|| panic!("{device:#x} is integrated graphics"))
}

fn span(text: &str) -> Span<Hpa> {
    text.parse().expect("a span")
}

#[test]
fn devices_are_of_their_generation() {
    for (devices, generation, name) in [
        (&[0x0102, 0x0116, 0x0126, 0x010a][..], 6, "Sandy Bridge"),
        (&[0x0152, 0x0156, 0x016a], 7, "Ivy Bridge"),
        (&[0x0402, 0x0a16, 0x0a2e, 0x0c06, 0x0d26], 7, "Haswell"),
        (&[0x0f30, 0x0f33], 7, "Bay Trail"),
        (&[0x1616, 0x163e], 8, "Broadwell"),
        (&[0x22b0, 0x22b3], 8, "Cherry Trail"),
        (&[0x1912, 0x193d], 9, "Skylake"),
        (&[0x0a84, 0x1a85, 0x5a84], 9, "Apollo Lake"),
        (&[0x3184], 9, "Gemini Lake"),
        (&[0x5916, 0x87c0], 9, "Kaby Lake"),
        (&[0x3e9b, 0x3ea0, 0x87ca], 9, "Coffee Lake"),
        (&[0x9b41, 0x9bc5, 0x9bf6], 9, "Comet Lake"),
        (&[0x5a44], 10, "Cannon Lake"),
        (&[0x8a52, 0x8a71], 11, "Ice Lake"),
        (&[0x4555, 0x4571], 11, "Elkhart Lake"),
        (&[0x4e61], 11, "Jasper Lake"),
        (&[0x9a49, 0x9af8], 12, "Tiger Lake"),
        (&[0x4c8a], 12, "Rocket Lake"),
        (&[0x4680, 0x46a6, 0x4626, 0x46d4], 12, "Alder Lake"),
        (&[0xa780, 0xa720, 0xa7a0], 12, "Raptor Lake"),
        (&[0x7d45, 0x7d67, 0x7dd5, 0xb640], 12, "Meteor Lake"),
        (&[0x64a0], 20, "Lunar Lake"),
        (&[0xb0a0], 30, "Panther Lake"),
    ] {
        for &device in devices {
            let found = platform(device);
            assert_eq!((found.generation, found.name), (generation, name), "{device:#x}");
        }
    }
    // Older ones, a discrete one, and what is no graphics at all.
    for device in [0x0042, 0x2a42, 0x4905, 0x56a0, 0xe20b, 0x1533] {
        assert_eq!(Platform::of_device(device), None, "{device:#x}");
    }
}

/// GMS code, bits it is in, and MiB, for one device.
#[test]
fn every_size_of_memory_is_decoded() {
    const LOW: &[(u32, Option<u64>)] = &[
        (0, Some(0)),
        (1, Some(32)),
        (2, Some(64)),
        (0x10, Some(512)),
        (0x11, None),
        (0x1f, None),
    ];
    const CHERRY: &[(u32, Option<u64>)] = &[
        (0, Some(0)),
        (1, Some(32)),
        (0x10, Some(512)),
        (0x11, Some(8)),
        (0x12, Some(12)),
        (0x16, Some(28)),
        (0x17, Some(36)),
        (0x1d, Some(60)),
        (0x1e, None),
    ];
    const HIGH: &[(u32, Option<u64>)] =
        &[(0, Some(0)), (1, Some(32)), (2, Some(64)), (0x3f, Some(2016)), (0xf0, Some(7680))];
    const FINE: &[(u32, Option<u64>)] = &[
        (0, Some(0)),
        (1, Some(32)),
        (2, Some(64)),
        (0x20, Some(1024)),
        (0xef, Some(0xef * 32)),
        (0xf0, Some(4)),
        (0xfd, Some(56)),
        (0xfe, Some(60)),
        (0xff, None),
    ];
    const FEW: &[(u32, Option<u64>)] = &[
        (0, Some(0)),
        (4, Some(128)),
        (5, None),
        (0xef, None),
        (0xf0, Some(4)),
        (0xfe, Some(60)),
        (0xff, None),
    ];
    for (devices, shift, codes) in [
        (&[0x0116, 0x0166, 0x0412, 0x0f31][..], 3, LOW),
        (&[0x22b1], 3, CHERRY),
        (&[0x1616], 8, HIGH),
        (&[0x1912, 0x3184, 0x5912, 0x9bc5, 0x5a42, 0x8a52, 0x9a49, 0x46a6, 0xa780], 8, FINE),
        (&[0x7d55, 0x64a0, 0xb080], 8, FEW),
    ] {
        for &device in devices {
            for &(code, mib) in codes {
                // Other bits, also those of the upper half, change nothing.
                let others = if shift == 3 { 0xffff_ff07 } else { 0xffff_00ff };
                for rest in [0, others] {
                    let found = platform(device).data_length(code << shift | rest);
                    assert_eq!(found, mib.map(|mib| mib * MIB), "{device:#x} {code:#x}");
                }
            }
        }
    }
}

#[test]
fn every_size_of_page_table_is_decoded() {
    for (devices, shift, sizes) in [
        (&[0x0116, 0x0166, 0x0412][..], 8, [Some(0), Some(1), Some(2), None]),
        (&[0x22b1], 8, [Some(0), Some(2), Some(4), Some(8)]),
        (&[0x1616, 0x1912, 0x9a49, 0xa780], 6, [Some(0), Some(2), Some(4), Some(8)]),
        (&[0x7d55, 0x64a0], 6, [None, None, None, Some(8)]),
    ] {
        for &device in devices {
            for (code, mib) in (0..).zip(sizes) {
                let found = platform(device).page_table_length(code << shift);
                assert_eq!(found, mib.map(|mib| mib * MIB), "{device:#x} {code}");
            }
        }
    }
}

/// What real kernels printed as graphics memory, and the registers that say so (made from the
/// addresses: nobody has published the registers themselves).
#[test]
fn memory_of_real_machines_is_found() {
    for (device, control, low, high, page_table, data) in [
        // A ThinkPad 20VH, whose RMRR is 0x9c000000-0xa07fffff.
        (0x9a49, 0x02c0, 0x9c80_0001, 0, "0x9c000000-0x9c7fffff", "0x9c800000-0xa07fffff"),
        // A NUC 12, Alder Lake.
        (0x46a6, 0x02c1, 0x6480_0000, 0, "0x64000000-0x647fffff", "0x64800000-0x687fffff"),
        // Of 60 MiB, in steps of 4.
        (0x9a49, 0xfec0, 0x4c80_0000, 0, "0x4c000000-0x4c7fffff", "0x4c800000-0x503fffff"),
        // Across 1 GiB.
        (0xa788, 0x02c0, 0x3c80_0000, 0, "0x3c000000-0x3c7fffff", "0x3c800000-0x407fffff"),
        (0x3ea0, 0x02c0, 0x8c00_0001, 9, "0x8b800000-0x8bffffff", "0x8c000000-0x8fffffff"),
        // Sandy Bridge: 32 MiB and 2 MiB.
        (0x0126, 0x0208, 0xdda0_0001, 9, "0xdd800000-0xdd9fffff", "0xdda00000-0xdf9fffff"),
        // Above 4 GiB, which 64 bits can say.
        (
            0x9a49,
            0x01c0,
            0x8000_0001,
            0x20,
            "0x207f800000-0x207fffffff",
            "0x2080000000-0x2081ffffff",
        ),
    ] {
        let platform = platform(device);
        let first = platform.data_first(low, high).expect("there is memory");
        assert_eq!(platform.page_table(control, first), Some(span(page_table)), "{device:#x}");
        assert_eq!(platform.data(control, first), Some(span(data)), "{device:#x}");
    }
    assert_eq!(platform(0x3ea0).data_first(0x000f_ffff, 1), None);
    assert_eq!(platform(0x9a49).data_first(0x000f_ffff, 0), None);
}

#[test]
fn behind_a_bar_memory_follows_the_page_table() {
    let meteor_lake = platform(0x7d55);
    assert!(!meteor_lake.tells_in_config());
    let found = meteor_lake.behind_bar(0x02c0, 0x6400_0001).expect("there is memory");
    let expected = (span("0x64000000-0x647fffff"), Some(span("0x64800000-0x687fffff")));
    assert_eq!(found, expected);
    assert_eq!(meteor_lake.behind_bar(0x02c0, 0), None);
    assert_eq!(meteor_lake.behind_bar(0x0240, 0x6400_0000), None, "no such page table");
    assert_eq!(meteor_lake.behind_bar(0x02c0, u64::MAX), None);
    assert_eq!(platform(0x9a49).behind_bar(0x02c0, 0x6400_0000), None);
}

#[test]
fn what_firmware_keeps_is_at_the_top() {
    let data = span("0x9c800000-0xa07fffff");
    for (device, register, area) in [
        (0x0116, 0xa070_0001, Some("0xa0700000-0xa07fffff")),
        (0x0116, 0xa070_0011, Some("0xa0700000-0xa077ffff")),
        (0x0116, 0xa070_0031, Some("0xa0700000-0xa071ffff")),
        (0x0116, 0xa070_0000, None),
        (0x0412, 0xa070_0001, Some("0xa0700000-0xa07fffff")),
        (0x0412, 0xa07c_0021, Some("0xa07c0000-0xa07fffff")),
        (0x0f31, 0x0000_0001, Some("0xa0700000-0xa07fffff")),
        (0x22b1, 0xa000_0181, Some("0xa0000000-0xa07fffff")),
        (0x3184, 0xa070_0001, Some("0xa0700000-0xa07fffff")),
        (0x1912, 0xa000_0001, Some("0xa0000000-0xa07fffff")),
        (0x1912, 0x0000_0001, None),
        (0x9a49, 0xa000_0180, Some("0xa0000000-0xa07fffff")),
        (0x9a49, 0xa060_0081, Some("0xa0600000-0xa07fffff")),
        (0x7d55, 0x0000_0180, Some("0xa0000000-0xa07fffff")),
    ] {
        let found = platform(device).firmware_area(register, data);
        assert_eq!(found, Ok(area.map(span)), "{device:#x} {register:#x}");
    }
    // As when a VMM moved the memory and left this register: Linux then gives all of it up.
    let outside = platform(0x9a49).firmware_area(0x4f00_0181, data).expect_err("elsewhere");
    assert_eq!(
        outside.to_string(),
        "what firmware keeps, 0x4f000000-0x4f7fffff, is outside of 0x9c800000-0xa07fffff"
    );
    let nowhere = platform(0x9a49).firmware_area(1, data).expect_err("no address");
    assert_eq!(nowhere, OddFirmware::Nowhere { register: 1 });
    assert!(nowhere.to_string().contains("0x1"));
    let beyond = platform(0x1912).firmware_area(0xfff0_0001, data).expect_err("above the top");
    assert_eq!(beyond, OddFirmware::Nowhere { register: 0xfff0_0001 });
}

/// As an Alder Lake's host bridge and graphics have it.
#[test]
fn config_space_says_what_firmware_keeps_where_it_ends_with_the_memory() {
    let data = span("0x70800000-0x747fffff");
    assert_eq!(protected_area(0x7460_0087, data), Some(span("0x74600000-0x747fffff")));
    for register in [0x7460_0086, 0x7460_0007, 0x7450_0087, 0x0000_0087, u32::MAX, 0] {
        assert_eq!(protected_area(register, data), None, "{register:#x}");
    }
}

#[test]
fn the_op_region_is_where_asls_says() {
    assert_eq!(op_region(0), None);
    assert_eq!(op_region(u32::MAX), None);
    assert_eq!(op_region(0x8b5e_0018), Some(Hpa::new(0x8b5e_0018)));
}

proptest! {
    #[test]
    fn any_registers_are_decoded_or_not(
        device in any::<u16>(), control in any::<u32>(), low in any::<u32>(), high in any::<u32>(),
        register in any::<u64>(),
    ) {
        let Some(platform) = Platform::of_device(device) else { return Ok(()) };
        let Some(first) = platform.data_first(low, high) else { return Ok(()) };
        let data = platform.data(control, first);
        if let Some(page_table) = platform.page_table(control, first)
            && let Some(data) = data
        {
            prop_assert!(page_table.touches(&data));
        }
        if let Some(data) = data
            && let Ok(Some(area)) = platform.firmware_area(register, data)
        {
            prop_assert!(data.encloses(&area));
        }
        _ = platform.behind_bar(control, register);
    }

    #[test]
    fn every_device_is_decoded_in_one_way(device in any::<u16>()) {
        let all = super::platform::all().filter(|(first, last)| (*first..=*last).contains(&device));
        prop_assert!(all.count() <= 1);
    }
}
