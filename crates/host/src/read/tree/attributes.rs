//! Attributes of sysfs that say what registers would, and wake nothing.

use crate::fact::{Fact, Unknown};
use crate::function::{Class, Function, Header};
use crate::read::base_addresses;
use crate::read::hex::number;

use super::{Directory, Keep};

/// Sets what registers left unknown and the kernel remembers.
pub(super) fn fill(function: &mut Function, directory: &impl Directory) {
    let text = |name: &str| directory.text(name, Keep::Whole).ok();
    let hexadecimal = |name: &str| text(name).and_then(|text| number(&text));
    let id = |name: &str| hexadecimal(name).and_then(|number| u16::try_from(number).ok());
    let identity = &mut function.identity;
    or_else(&mut identity.vendor, || id("vendor"));
    or_else(&mut identity.device, || id("device"));
    or_else(&mut identity.subsystem, || Some((id("subsystem_vendor")?, id("subsystem_device")?)));
    or_else(&mut identity.revision, || u8::try_from(hexadecimal("revision")?).ok());
    or_else(&mut identity.class, || {
        let [interface, sub, base, _] = hexadecimal("class")?.to_le_bytes();
        Some(Class { base, sub, interface })
    });
    let class = identity.class.known().map(|class| (class.base, class.sub));
    or_else(&mut function.header, || {
        let secondary = text("secondary_bus_number")?.parse().ok()?;
        let subordinate = text("subordinate_bus_number")?.parse().ok()?;
        Some(match class {
            Some((0x06, 0x07)) => Header::CardBus { secondary, subordinate },
            _ => Header::Bridge { secondary, subordinate },
        })
    });
    fill_bars(function, directory);
}

/// Sets what the kernel says of base address registers: how large they are, and of a function whose
/// registers show none that they are there.
fn fill_bars(function: &mut Function, directory: &impl Directory) {
    let has_none = match &function.bars {
        Fact::Known(bars) => bars.is_empty(),
        Fact::Unknown(_) => false,
    };
    if has_none && function.memory.is_known() {
        return;
    }
    let Ok(resources) = directory.text("resource", Keep::BaseAddresses) else { return };
    or_else(&mut function.memory, || Some(has_memory(&resources)));
    let is_bridge = function.is_bridge();
    if !is_bridge && let Some(bars) = base_addresses::by_resources(&resources) {
        function.bars = Fact::Known(bars);
    }
}

fn or_else<T>(fact: &mut Fact<T>, of: impl FnOnce() -> Option<T>) {
    // Without details that need root the kernel has nothing more to say.
    let may_help = matches!(fact, Fact::Unknown(why) if *why != Unknown::Garbled);
    if may_help && let Some(value) = of() {
        *fact = Fact::Known(value);
    }
}

/// Whether one of the first six lines of `resource`, which are the base address registers, is
/// memory (`IORESOURCE_MEM`, include/linux/ioport.h).
fn has_memory(resources: &str) -> bool {
    resources.lines().take(6).any(|line| {
        let flags = line.split(' ').nth(2).and_then(|flags| flags.strip_prefix("0x"));
        let flags = flags.and_then(|flags| u64::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & 0x200 != 0)
    })
}

/// Of `/proc/cpuinfo`: `flags: hypervisor`, or `flags:`, or nothing where it has no flags.
pub(super) fn keep_hypervisor(text: &str) -> &'static str {
    let flags = text.lines().find_map(|line| {
        let (name, flags) = line.split_once(':')?;
        (name.trim_end() == "flags").then_some(flags)
    });
    match flags {
        Some(flags) if flags.split(' ').any(|flag| flag == "hypervisor") => "flags: hypervisor",
        Some(_) => "flags:",
        None => "",
    }
}
