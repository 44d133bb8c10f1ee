//! What the registers of an open graphics function say of its memory.

use ringfence_addr::{Hpa, PciAddress, Span};
use ringfence_host::graphics::{self, Platform};
use ringfence_refusal::{Failure, Fault, Refusal};

use super::keep::{self, Kept};
use crate::access::{Access, answering, config_u32, register_u32, register_u64};
use crate::refusals;

const INTEL: u16 = 0x8086;
/// Base class 3: displays (PCI Code and ID Assignment 1.11, section 1.4).
const DISPLAY: u8 = 3;

const PAGE_BYTES: u64 = 4096;

/// From Meteor Lake on, where in BAR 2 the device's memory begins: the page table is before it.
const DATA_IN_BAR: u64 = 8 << 20;

/// Registers are in the lower half of BAR 0, the page table in the upper.
const REGISTERS: u8 = 0;

/// The memory of a graphics function, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graphics {
    /// The function.
    pub function: PciAddress,
    /// Its design.
    pub platform: Platform,
    /// The page table of graphics addresses (GSM).
    pub page_table: Option<Span<Hpa>>,
    /// The device's own memory (DSM).
    pub data: Span<Hpa>,
    /// The top of it that firmware keeps for the device's own processors (WOPCM).
    pub firmware: Option<Span<Hpa>>,
    /// The OpRegion, if firmware made one.
    pub op_region: Option<Hpa>,
    /// What else of it firmware left there for whoever drives the device.
    pub kept: Vec<Kept>,
    /// How it is reached.
    pub view: View,
}

/// How the device's memory is reached from the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Through the aperture, BAR 2, page by page as entries of the page table say.
    Aperture {
        /// Where in BAR 0 the entries begin.
        entries_offset: u64,
        /// How many pages both the page table and the aperture have.
        pages: u64,
    },
    /// All of it, from this offset of BAR 2 on.
    Whole {
        /// Where it begins.
        offset: u64,
    },
}

impl Graphics {
    /// Reads the registers.
    ///
    /// # Errors
    ///
    /// The function is no graphics whose registers are known here, has no memory of its own, or
    /// says what cannot be.
    pub fn read(access: &mut dyn Access) -> Result<Self, Failure> {
        let function = access.function();
        let platform = platform(access)?;
        answering(access, |access| read(access, function, platform))
    }
}

/// Which design it is.
fn platform(access: &mut dyn Access) -> Result<Platform, Failure> {
    let [vendor_low, vendor_high, device_low, device_high] = config_u32(access, 0)?.to_le_bytes();
    let [.., class] = config_u32(access, 8)?.to_le_bytes();
    let vendor = u16::from_le_bytes([vendor_low, vendor_high]);
    let device = u16::from_le_bytes([device_low, device_high]);
    let known = (vendor == INTEL && class == DISPLAY).then(|| Platform::of_device(device));
    known.flatten().ok_or_else(|| {
        let what =
            format!("{} is {vendor:04x}:{device:04x} of class {class:#04x}", access.function());
        Refusal::new(&refusals::NOTHING_STOLEN, what).into()
    })
}

fn read(
    access: &mut dyn Access,
    function: PciAddress,
    platform: Platform,
) -> Result<Graphics, Failure> {
    let odd = |what: String| {
        Failure::from(Refusal::new(&refusals::STOLEN_ODD, format!("{function}: {what}")))
    };
    let control = control(access, &platform)?;
    let (page_table, data) = spans(access, &platform, control)?;
    check_mirrors(access, &platform, control, data).map_err(|why| match why {
        Unseen::Fault(fault) => fault.into(),
        Unseen::Odd(what) => odd(what),
    })?;
    let sizes = (platform.data_length(control), platform.page_table_length(control));
    if sizes.0 == Some(0) {
        let what = format!("{function}: GGC {control:#06x} says that it has no memory of its own");
        return Err(Refusal::new(&refusals::NOTHING_STOLEN, what).into());
    }
    let (Some(data), (Some(_), Some(entries_bytes))) = (data, sizes) else {
        let name = platform.name;
        return Err(odd(format!(
            "GGC {control:#06x} and BDSM name no memory that {name} can have"
        )));
    };
    let register = match platform.has_wide_data() {
        true => register_u64(access, REGISTERS, graphics::FIRMWARE)?,
        false => register_u32(access, REGISTERS, graphics::FIRMWARE)?.into(),
    };
    let firmware = platform.firmware_area(register, data).map_err(|why| odd(why.to_string()))?;
    // Linux takes it for the top, too, and uses nothing above it (`init_reserved_stolen`). What is there
    // would be memory of others if GGC says too much.
    if let Some(area) = firmware.filter(|area| area.last() != data.last()) {
        return Err(odd(format!("what firmware keeps, {area}, is not the top of {data}")));
    }
    let op_region = graphics::op_region(config_u32(access, graphics::OP_REGION)?);
    let kept = keep::read(access, &platform, data, firmware)?;
    let view = view(access, &platform, entries_bytes, data).map_err(|why| match why {
        Unseen::Fault(fault) => fault.into(),
        Unseen::Odd(what) => odd(what),
    })?;
    Ok(Graphics { function, platform, page_table, data, firmware, op_region, kept, view })
}

/// GGC, from where the design has it.
fn control(access: &mut dyn Access, platform: &Platform) -> Result<u32, Fault> {
    let control = match platform.tells_in_config() {
        true => config_u32(access, graphics::CONTROL)?,
        false => register_u32(access, REGISTERS, graphics::CONTROL_MIRROR)?,
    };
    Ok(control & 0xffff)
}

/// Compares config space with its mirrors in BAR 0, which are there from generation 11 on (QEMU 11,
/// `hw/vfio/igd.c`): what is marked, cleared and read back behind a wrong number is memory of others,
/// and keeps marks as well as the device's own.
fn check_mirrors(
    access: &mut dyn Access,
    platform: &Platform,
    control: u32,
    data: Option<Span<Hpa>>,
) -> Result<(), Unseen> {
    if !platform.tells_in_config() || !platform.has_wide_data() {
        return Ok(());
    }
    let mirror = register_u32(access, REGISTERS, graphics::CONTROL_MIRROR)? & 0xffff;
    if mirror != 0 && mirror != control {
        return Err(Unseen::Odd(format!("GGC is {control:#06x}, and {mirror:#06x} in BAR 0")));
    }
    let [a, b, c, d, e, f, g, h] =
        register_u64(access, REGISTERS, graphics::DATA_MIRROR)?.to_le_bytes();
    let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    let (mirror, own) = (platform.data_first(low, high), data.map(|data| data.first()));
    match (mirror, own) {
        (Some(mirror), Some(own)) if mirror != own => {
            Err(Unseen::Odd(format!("BDSM is {own}, and {mirror} in BAR 0")))
        }
        _ => Ok(()),
    }
}

type Spans = (Option<Span<Hpa>>, Option<Span<Hpa>>);

/// Page table and data.
fn spans(access: &mut dyn Access, platform: &Platform, control: u32) -> Result<Spans, Fault> {
    if !platform.tells_in_config() {
        let mirror = register_u64(access, REGISTERS, graphics::PAGE_TABLE_MIRROR)?;
        let found = platform.behind_bar(control, mirror);
        return Ok(found.map_or((None, None), |(page_table, data)| (Some(page_table), data)));
    }
    let first = if platform.has_wide_data() {
        let low = config_u32(access, graphics::DATA_LOW)?;
        platform.data_first(low, config_u32(access, graphics::DATA_HIGH)?)
    } else {
        platform.data_first(config_u32(access, graphics::DATA)?, 0)
    };
    let page_table = first.and_then(|first| platform.page_table(control, first));
    Ok((page_table, first.and_then(|first| platform.data(control, first))))
}

enum Unseen {
    Fault(Fault),
    Odd(String),
}

impl From<Fault> for Unseen {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn view(
    access: &mut dyn Access,
    platform: &Platform,
    entries_bytes: u64,
    data: Span<Hpa>,
) -> Result<View, Unseen> {
    let (registers, aperture) = (access.bar_length(0)?, access.bar_length(2)?);
    if !platform.tells_in_config() {
        let end = data.length().checked_add(DATA_IN_BAR.into());
        if end.is_none_or(|end| end > aperture.into()) {
            let what = format!("BAR 2 has {aperture:#x} bytes, and {data} is not all in it");
            return Err(Unseen::Odd(what));
        }
        return Ok(View::Whole { offset: DATA_IN_BAR });
    }
    let entries_offset = registers / 2;
    let fits = entries_bytes <= entries_offset;
    let pages = (entries_bytes / platform.entry_bytes()).min(aperture / PAGE_BYTES);
    if !fits || pages < 2 {
        let what = format!(
            "a page table of {entries_bytes:#x} bytes, {registers:#x} of BAR 0 and {aperture:#x} of BAR 2 \
             do not go together"
        );
        return Err(Unseen::Odd(what));
    }
    Ok(View::Aperture { entries_offset, pages })
}
