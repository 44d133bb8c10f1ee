//! Hosts and requests of any kind: regions on one another, across every boundary that matters, not on
//! pages, at the top of space; fleets; every machine and policy.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use proptest::prelude::*;
use ringfence_addr::{Hpa, PciAddress, Span};
use ringfence_host::{Fact, HostMemory, IommuMaker, Owners, Region, RegionKind, Role, Unknown};
use ringfence_plan::{Assigned, Hotplug, Machine, Policy, Request, Vcpu, Viommu, WindowWish};

pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const MIB: u64 = 1 << 20;

/// Functions that VMs get, the first being graphics; and one that none gets.
pub(crate) const FUNCTIONS: [&str; 4] =
    ["0000:00:02.0", "0000:00:14.0", "0000:03:00.0", "0001:00:02.0"];
pub(crate) const STRANGER: &str = "0000:7f:1f.7";

pub(crate) fn at(text: &str) -> PciAddress {
    text.parse().unwrap()
}

pub(crate) fn region(
    first: u64,
    last: u64,
    kind: RegionKind,
    owners: Owners,
    role: Role,
) -> Region {
    Region {
        span: Span::new(Hpa::new(first), Hpa::new(last)).unwrap(),
        kind,
        owners,
        shared: BTreeSet::new(),
        role,
        sources: vec!["made".to_owned()],
    }
}

/// Addresses around which something changes.
const EDGES: &[u64] = &[
    0,
    0xa_0000,
    MIB,
    2 * MIB,
    0x400_0000,
    0x7b80_0000,
    0x8000_0000,
    0xb000_0000,
    0xc000_0000,
    0xe000_0000,
    0xe800_0000,
    0xfec0_0000,
    0xfee0_0000,
    4 * GIB,
    0x1_4000_0000,
    0x2_7fe0_0000,
    0x2_8000_0000,
    64 * GIB,
    0xfd_0000_0000,
    1 << 39,
    1 << 40,
    1 << 46,
    1 << 52,
];

fn first() -> impl Strategy<Value = u64> {
    let edge = prop::sample::select(EDGES);
    prop_oneof![
        4 => (edge, 0_u64..512).prop_map(|(edge, pages)| {
            edge.saturating_add(pages << 20).saturating_sub(128 << 20) & !0xfff
        }),
        1 => (prop::sample::select(EDGES), -5000_i64..5000)
            .prop_map(|(edge, near)| edge.saturating_add_signed(near)),
        2 => (0_u64..8 * GIB).prop_map(|first| first & !0x1f_ffff),
        1 => (0_u32..64, any::<u64>()).prop_map(|(bits, any)| any >> bits),
        1 => (0_u64..1 << 20).prop_map(|below| u64::MAX - below),
    ]
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => 1_u64..0x4000,
        3 => (1_u64..64).prop_map(|pages| pages << 12),
        4 => (1_u64..80).prop_map(|large| large << 21),
        1 => (0_u32..44, any::<u64>()).prop_map(|(bits, any)| (any >> (20 + bits)).max(1)),
    ]
}

fn kind() -> impl Strategy<Value = RegionKind> {
    prop_oneof![
        24 => Just(RegionKind::Relaxable),
        4 => Just(RegionKind::Direct),
        1 => Just(RegionKind::SoftwareMsi),
        1 => Just(RegionKind::Msi),
        1 => Just(RegionKind::Reserved),
    ]
}

fn owners() -> impl Strategy<Value = Owners> {
    let some = || prop::collection::btree_set(prop::sample::select(&FUNCTIONS[..]), 1..3);
    let these = |names: BTreeSet<&str>| names.into_iter().map(at).collect::<BTreeSet<_>>();
    prop_oneof![
        1 => Just(Owners::All),
        1 => Just(Owners::Unknown),
        6 => some().prop_map(move |names| Owners::These(these(names))),
        1 => some().prop_map(move |names| Owners::Among(these(names))),
        1 => Just(Owners::Range(at("0000:00:00.0"), at("0000:00:1f.7"))),
        1 => Just(Owners::These([at(STRANGER)].into())),
        1 => Just(Owners::These([at(STRANGER), at(FUNCTIONS[1])].into())),
    ]
}

fn some_region() -> impl Strategy<Value = Region> {
    (first(), length(), kind(), owners(), any::<bool>()).prop_map(
        |(first, length, kind, owners, role)| {
            let role = if role { Role::Graphics } else { Role::Other };
            let graphics = owners == Owners::These([at(FUNCTIONS[0])].into());
            let role = if graphics { role } else { Role::Other };
            region(first, first.saturating_add(length - 1), kind, owners, role)
        },
    )
}

fn some_host() -> impl Strategy<Value = HostMemory> {
    let regions = prop_oneof![
        6 => prop::collection::vec(some_region(), 0..5),
        2 => prop::collection::vec(some_region(), 5..16),
        // Many and near one another.
        1 => (prop::sample::select(EDGES), prop::collection::vec((0_u64..4096, 1_u64..600), 20..200))
            .prop_map(|(edge, places)| {
                let owners = || Owners::These([at(FUNCTIONS[1])].into());
                places
                    .into_iter()
                    .map(|(place, pages)| {
                        let first = (edge & !0xfff).saturating_add(place << 16);
                        let last = first.saturating_add((pages << 12) - 1);
                        region(first, last, RegionKind::Relaxable, owners(), Role::Usb)
                    })
                    .collect()
            }),
    ];
    let bits = prop_oneof![
        8 => prop::sample::select(&[36_u8, 39, 42, 46, 48, 52, 57][..]).prop_map(Fact::Known),
        1 => (0_u8..64).prop_map(Fact::Known),
        1 => Just(Fact::Unknown(Unknown::NotInSource)),
    ];
    let maker = prop::option::of(prop::sample::select(
        &[IommuMaker::Intel, IommuMaker::Amd, IommuMaker::Arm][..],
    ));
    (regions, bits, maker).prop_map(|(regions, address_bits, maker)| HostMemory {
        regions,
        address_bits,
        iommu: maker.map_or(Fact::Unknown(Unknown::NotInSource), Fact::Known),
        ..HostMemory::default()
    })
}

pub(crate) fn hosts() -> impl Strategy<Value = Vec<HostMemory>> {
    prop_oneof![
        6 => prop::collection::vec(some_host(), 1..=1),
        1 => prop::collection::vec(some_host(), 0..4),
    ]
}

fn memory() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => prop::sample::select(&[2 * GIB, 4 * GIB, 16 * GIB, 1024 * GIB, 980 * GIB][..]),
        3 => (prop::sample::select(EDGES), 0_u64..600).prop_map(|(edge, large)| {
            (edge.min(1 << 41) + (large << 19)).saturating_sub(128 << 20).max(0x1000) & !0xfff
        }),
        2 => (1_u64..64).prop_map(|pages| pages << 27),
        1 => (1_u64..16 * GIB).prop_map(|bytes| bytes),
        1 => any::<u64>(),
    ]
}

fn assigned() -> impl Strategy<Value = Vec<Assigned>> {
    let policy = prop::option::weighted(
        0.4,
        prop_oneof![
            8 => prop::sample::select(&[Policy::Hole, Policy::Reserve, Policy::Identity][..]),
            2 => prop::sample::select(&Policy::ALL[..]),
        ],
    );
    let guest = prop::option::weighted(0.8, guest());
    let one = (prop::sample::select(&FUNCTIONS[..]), policy, guest)
        .prop_map(|(name, policy, guest)| Assigned { address: at(name), policy, guest });
    prop::collection::vec(one, 0..3)
}

/// Where a guest finds a device, sometimes behind a bridge.
fn guest() -> impl Strategy<Value = PciAddress> {
    (prop::sample::select(&[0_u8, 0, 0, 1][..]), 2_u16..6).prop_map(|(bus, device)| {
        PciAddress::from_requester_id(0, u16::from(bus) << 8 | device << 3)
    })
}

/// Mostly one that the machine may have.
fn viommu() -> impl Strategy<Value = Option<Viommu>> {
    prop::option::weighted(0.4, prop::sample::select(&Viommu::ALL[..]))
}

fn windows() -> impl Strategy<Value = Vec<WindowWish>> {
    let bytes = prop_oneof![4 => (1_u64..64).prop_map(|large| large << 20), 1 => 1_u64..4 * GIB];
    let one = (bytes, guest()).prop_map(|(bytes, guest)| WindowWish {
        name: format!("{guest}"),
        bytes: NonZeroU64::new(bytes).unwrap_or(NonZeroU64::MIN),
        guest,
    });
    prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(one, 1..3)]
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let hotplug = prop_oneof![
        3 => Just(Hotplug::default()),
        1 => (1_u64..64, 0_u16..5).prop_map(|(gib, slots)| Hotplug { bytes: gib * GIB, slots }),
        1 => (any::<u64>(), any::<u16>(), 0_u32..64)
            .prop_map(|(bytes, slots, bits)| Hotplug { bytes: bytes >> bits, slots }),
    ];
    let vcpu = prop::option::of(prop::sample::select(&[Vcpu::Intel, Vcpu::Amd][..]));
    let bits = prop::option::weighted(0.2, prop_oneof![3 => 36_u8..53, 1 => any::<u8>()]);
    (
        (memory(), prop::sample::select(&Machine::ALL[..]), assigned(), assigned()),
        (hotplug, bits, vcpu, prop::bool::weighted(0.8), prop::bool::weighted(0.8)),
        (viommu(), windows()),
    )
        .prop_map(|((memory, machine, devices, later), more, (viommu, windows))| {
            let (hotplug, address_bits, vcpu, direct_allowed, shared_allowed) = more;
            let memory = NonZeroU64::new(memory).unwrap_or(NonZeroU64::MIN);
            Request {
                memory,
                devices,
                later,
                hotplug,
                address_bits,
                vcpu,
                direct_allowed,
                shared_allowed,
                viommu,
                windows,
                ..Request::new(memory, machine)
            }
        })
}
