//! Which generation a device id is of, and how that one encodes what it has.

use super::control::{DataCode, PageTableCode};
use super::firmware::FirmwareCode;

/// Integrated graphics of one design: what its registers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    /// What it is called: `Tiger Lake`.
    pub name: &'static str,
    /// The graphics generation as Linux counts: 6 to 12, then 20 and 30.
    pub generation: u8,
    pub(super) data: DataCode,
    pub(super) page_table: PageTableCode,
    pub(super) firmware: FirmwareCode,
    /// BDSM has 64 bits, at another place.
    pub(super) wide_data: bool,
    /// There is no BDSM in config space: the device's memory is behind BAR 2.
    behind_bar: bool,
    /// A system on a chip whose host bridge has none of the registers named here.
    small: bool,
}

impl Platform {
    const fn new(name: &'static str, generation: u8, data: DataCode) -> Self {
        Self {
            name,
            generation,
            data,
            page_table: match generation {
                6 | 7 => PageTableCode::Megabytes,
                _ => PageTableCode::Power,
            },
            firmware: match generation {
                6 => FirmwareCode::Six,
                7 => FirmwareCode::Seven,
                8..=10 => FirmwareCode::ToTheTop,
                _ => FirmwareCode::Wide,
            },
            wide_data: generation >= 11,
            behind_bar: false,
            small: false,
        }
    }

    const fn small(mut self, firmware: FirmwareCode) -> Self {
        self.small = true;
        self.firmware = firmware;
        self
    }

    const fn without_config(mut self) -> Self {
        self.behind_bar = true;
        self.firmware = FirmwareCode::BelowTheTop;
        self
    }

    /// The design of the graphics with this device id of vendor 0x8086, if it is integrated and one
    /// that is known here (Linux 6.12, `include/drm/intel/i915_pciids.h`; later ids of the same
    /// ranges count as the same design).
    pub fn of_device(device: u16) -> Option<Self> {
        let found = TABLE.iter().find(|(first, last, _)| (*first..=*last).contains(&device));
        found.map(|(_, _, platform)| *platform)
    }

    /// Whether config space says where the device's memory is. From Meteor Lake on BAR 0 alone does.
    pub fn tells_in_config(&self) -> bool {
        !self.behind_bar
    }

    pub(super) fn is_bay_trail(&self) -> bool {
        *self == BAY_TRAIL
    }

    pub(super) fn is_cherry_trail(&self) -> bool {
        *self == CHERRY_TRAIL
    }

    /// Whether the host bridge's copies and TOLUD are where this crate looks for them.
    pub fn has_host_bridge_copies(&self) -> bool {
        !self.small && !self.behind_bar
    }
}

const SANDY_BRIDGE: Platform = Platform::new("Sandy Bridge", 6, DataCode::Low);
const IVY_BRIDGE: Platform = Platform::new("Ivy Bridge", 7, DataCode::Low);
const HASWELL: Platform = Platform::new("Haswell", 7, DataCode::Low);
const BAY_TRAIL: Platform =
    Platform::new("Bay Trail", 7, DataCode::Low).small(FirmwareCode::TopMegabyte);
const BROADWELL: Platform = Platform::new("Broadwell", 8, DataCode::High);
const CHERRY_TRAIL: Platform = Platform {
    page_table: PageTableCode::PowerHigh,
    ..Platform::new("Cherry Trail", 8, DataCode::Cherry).small(FirmwareCode::Eight)
};
const SKYLAKE: Platform = Platform::new("Skylake", 9, DataCode::HighFine);
const APOLLO_LAKE: Platform =
    Platform::new("Apollo Lake", 9, DataCode::HighFine).small(FirmwareCode::Eight);
const GEMINI_LAKE: Platform =
    Platform::new("Gemini Lake", 9, DataCode::HighFine).small(FirmwareCode::Eight);
const KABY_LAKE: Platform = Platform::new("Kaby Lake", 9, DataCode::HighFine);
const COFFEE_LAKE: Platform = Platform::new("Coffee Lake", 9, DataCode::HighFine);
const COMET_LAKE: Platform = Platform::new("Comet Lake", 9, DataCode::HighFine);
const CANNON_LAKE: Platform = Platform::new("Cannon Lake", 10, DataCode::HighFine);
const ICE_LAKE: Platform = Platform::new("Ice Lake", 11, DataCode::HighFine);
const ELKHART_LAKE: Platform = Platform::new("Elkhart Lake", 11, DataCode::HighFine);
const JASPER_LAKE: Platform = Platform::new("Jasper Lake", 11, DataCode::HighFine);
const TIGER_LAKE: Platform = Platform::new("Tiger Lake", 12, DataCode::HighFine);
const ROCKET_LAKE: Platform = Platform::new("Rocket Lake", 12, DataCode::HighFine);
const ALDER_LAKE: Platform = Platform::new("Alder Lake", 12, DataCode::HighFine);
const RAPTOR_LAKE: Platform = Platform::new("Raptor Lake", 12, DataCode::HighFine);
const METEOR_LAKE: Platform = Platform::new("Meteor Lake", 12, DataCode::HighFew).without_config();
const LUNAR_LAKE: Platform = Platform::new("Lunar Lake", 20, DataCode::HighFew).without_config();
const PANTHER_LAKE: Platform =
    Platform::new("Panther Lake", 30, DataCode::HighFew).without_config();

/// From the first device id to the last.
static TABLE: &[(u16, u16, Platform)] = &[
    (0x0100, 0x012f, SANDY_BRIDGE),
    (0x0150, 0x016f, IVY_BRIDGE),
    (0x0400, 0x042f, HASWELL),
    (0x0a00, 0x0a2f, HASWELL),
    (0x0a84, 0x0a84, APOLLO_LAKE),
    (0x0c00, 0x0c2f, HASWELL),
    (0x0d00, 0x0d2f, HASWELL),
    (0x0f30, 0x0f33, BAY_TRAIL),
    (0x1600, 0x163f, BROADWELL),
    (0x1900, 0x193f, SKYLAKE),
    (0x1a84, 0x1a85, APOLLO_LAKE),
    (0x22b0, 0x22b3, CHERRY_TRAIL),
    (0x3184, 0x3185, GEMINI_LAKE),
    (0x3e90, 0x3eaf, COFFEE_LAKE),
    (0x4540, 0x457f, ELKHART_LAKE),
    (0x4620, 0x462f, ALDER_LAKE),
    (0x4680, 0x46df, ALDER_LAKE),
    (0x4c80, 0x4c9f, ROCKET_LAKE),
    (0x4e50, 0x4e7f, JASPER_LAKE),
    (0x5900, 0x593f, KABY_LAKE),
    (0x5a40, 0x5a5f, CANNON_LAKE),
    (0x5a84, 0x5a85, APOLLO_LAKE),
    (0x6420, 0x6420, LUNAR_LAKE),
    (0x64a0, 0x64bf, LUNAR_LAKE),
    (0x7d40, 0x7d6f, METEOR_LAKE),
    (0x7dd0, 0x7ddf, METEOR_LAKE),
    (0x87c0, 0x87c0, KABY_LAKE),
    (0x87ca, 0x87ca, COFFEE_LAKE),
    (0x8a50, 0x8a7f, ICE_LAKE),
    (0x9a40, 0x9aff, TIGER_LAKE),
    (0x9b20, 0x9bff, COMET_LAKE),
    (0xa720, 0xa72f, RAPTOR_LAKE),
    (0xa780, 0xa7af, RAPTOR_LAKE),
    (0xb080, 0xb0af, PANTHER_LAKE),
    (0xb640, 0xb640, METEOR_LAKE),
];

/// The ranges of device ids.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (u16, u16)> {
    TABLE.iter().map(|(first, last, _)| (*first, *last))
}
