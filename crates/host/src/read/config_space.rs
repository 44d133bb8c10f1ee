//! From registers to the facts of a function.
//!
//! Offsets are those of PCI Local Bus 3.0, chapter 6 and appendix H, and PCI Express Base 6.0,
//! sections 7.5 (header and PCI Express capability), 7.7.11 (ACS) and 9.3.3 (SR-IOV).

use crate::acs::{Acs, AcsBits};
use crate::fact::{Fact, Unknown};
use crate::function::{Class, Function, Header, VirtualFunctions};
use crate::port::{Pcie, PortType};

use super::chain::{unread, walk_conventional, walk_extended};
use super::registers::{Gap, Registers};
use super::{base_addresses, kept_registers};

/// Sets what registers say of `function`, reading no more of them than it needs.
///
/// Ids of which the function shows none (those of virtual functions read as ones) stay as they are.
pub fn describe(function: &mut Function, registers: &mut dyn Registers) {
    match Identification::read(registers) {
        Ok(head) => {
            head.describe(function);
            kept_registers::keep(function, registers);
            describe_capabilities(function, registers, &head);
        }
        Err(why) => set_unknown(function, why),
    }
}

/// Says of everything registers would say, and nothing else did, why it is not known.
pub(super) fn set_unknown(function: &mut Function, why: Unknown) {
    let identity = &mut function.identity;
    fill(&mut identity.vendor, why);
    fill(&mut identity.device, why);
    fill(&mut identity.subsystem, why);
    fill(&mut identity.class, why);
    fill(&mut identity.revision, why);
    fill(&mut function.header, why);
    fill(&mut function.multifunction, why);
    fill(&mut function.pcie, why);
    fill(&mut function.acs, why);
    fill(&mut function.acs_double_word_control, why);
    fill(&mut function.memory, why);
    fill(&mut function.bars, why);
    fill(&mut function.virtual_functions, why);
}

fn fill<T>(fact: &mut Fact<T>, why: Unknown) {
    if !fact.is_known() {
        *fact = Fact::Unknown(why);
    }
}

/// The first 16 bytes, which every function has.
struct Identification {
    ids: [u8; 4],
    has_capabilities: bool,
    revision_and_class: [u8; 4],
    header_type: u8,
}

impl Identification {
    fn read(registers: &mut dyn Registers) -> Result<Self, Unknown> {
        let mut words = [0; 4];
        for (word, offset) in words.iter_mut().zip((0..).step_by(4)) {
            *word = registers.double_word(offset).map_err(unread)?;
        }
        if words == [u32::MAX; 4] {
            return Err(Unknown::NoAnswer);
        }
        let [ids, status, class, layout] = words.map(u32::to_le_bytes);
        Ok(Self {
            ids,
            has_capabilities: status[2] & 0x10 != 0,
            revision_and_class: class,
            header_type: layout[2],
        })
    }

    fn layout(&self) -> u8 {
        self.header_type & 0x7f
    }

    fn describe(&self, function: &mut Function) {
        let [vendor_low, vendor_high, device_low, device_high] = self.ids;
        let identity = &mut function.identity;
        if self.ids != [0xff; 4] {
            identity.vendor = Fact::Known(u16::from_le_bytes([vendor_low, vendor_high]));
            identity.device = Fact::Known(u16::from_le_bytes([device_low, device_high]));
        } else {
            fill(&mut identity.vendor, Unknown::NoAnswer);
            fill(&mut identity.device, Unknown::NoAnswer);
        }
        let [revision, interface, sub, base] = self.revision_and_class;
        identity.revision = Fact::Known(revision);
        identity.class = Fact::Known(Class { base, sub, interface });
        function.multifunction = Fact::Known(self.header_type & 0x80 != 0);
    }
}

fn describe_capabilities(
    function: &mut Function,
    registers: &mut dyn Registers,
    head: &Identification,
) {
    let layout = head.layout();
    function.header = header(registers, layout);
    // The base address registers of a virtual function read as zero, whatever it has.
    if head.ids == [0xff; 4] {
        fill(&mut function.memory, Unknown::NotInSource);
        fill(&mut function.bars, Unknown::NotInSource);
    } else {
        function.memory = memory(registers, layout);
        function.bars = match layout {
            0 => base_addresses::by_registers(registers),
            _ => Fact::Known(Vec::new()),
        };
    }
    let pointer = match (head.has_capabilities, layout) {
        (false, _) => Ok(0),
        (true, 2) => byte(registers, 0x14),
        (true, _) => byte(registers, 0x34),
    };
    let chain = match pointer {
        Ok(pointer) => walk_conventional(registers, pointer, layout == 1),
        Err(why) => return set_unknown(function, why),
    };
    if let Some(subsystem) = subsystem(registers, layout, chain.subsystem) {
        function.identity.subsystem = subsystem;
    }
    function.pcie = match chain.express {
        Fact::Known(Some(offset)) => word(registers, offset, 1)
            .map(|flags| Pcie { offset, port: PortType::from_number((flags >> 4 & 0xf) as u8) })
            .map(Some),
        Fact::Known(None) => Fact::Known(None),
        Fact::Unknown(why) => Fact::Unknown(why),
    };
    match function.pcie {
        Fact::Known(Some(_)) => describe_extended(function, registers),
        // Without PCI Express there is no extended chain that would count.
        Fact::Known(None) => {
            function.acs = Fact::Known(None);
            function.virtual_functions = Fact::Known(None);
        }
        Fact::Unknown(why) => {
            function.acs = Fact::Unknown(why);
            function.acs_double_word_control = Fact::Unknown(why);
            function.virtual_functions = Fact::Unknown(why);
        }
    }
}

fn describe_extended(function: &mut Function, registers: &mut dyn Registers) {
    let chain = walk_extended(registers);
    match chain.acs {
        Fact::Known(Some(offset)) => {
            let capability = word(registers, offset + 4, 0).map(AcsBits::from_bits_retain);
            let control = word(registers, offset + 4, 1).map(AcsBits::from_bits_retain);
            function.acs = Fact::Known(Some(Acs { offset, capability, control }));
            function.acs_double_word_control = double_word(registers, offset + 8);
        }
        Fact::Known(None) => function.acs = Fact::Known(None),
        Fact::Unknown(why) => function.acs = Fact::Unknown(why),
    }
    function.virtual_functions = match chain.virtual_functions {
        Fact::Known(Some(offset)) => virtual_functions(registers, offset).map(Some),
        Fact::Known(None) => Fact::Known(None),
        Fact::Unknown(why) => Fact::Unknown(why),
    };
}

fn header(registers: &mut dyn Registers, layout: u8) -> Fact<Header> {
    if layout != 1 && layout != 2 {
        return Fact::Known(if layout == 0 { Header::Endpoint } else { Header::Other(layout) });
    }
    double_word(registers, 0x18).map(|numbers| {
        let [_, secondary, subordinate, _] = numbers.to_le_bytes();
        if layout == 1 {
            Header::Bridge { secondary, subordinate }
        } else {
            Header::CardBus { secondary, subordinate }
        }
    })
}

/// Whether a base address register holds the address of memory.
fn memory(registers: &mut dyn Registers, layout: u8) -> Fact<bool> {
    let count = match layout {
        0 => 6,
        1 => 2,
        2 => 1,
        _ => 0,
    };
    for offset in (0x10..).step_by(4).take(count) {
        match double_word(registers, offset) {
            // Bit 0 is set for ports. The lower half of an address comes first and is not zero: it
            // has the bits that say so.
            Fact::Known(address) if address != 0 && address & 1 == 0 => return Fact::Known(true),
            Fact::Known(_) => {}
            Fact::Unknown(why) => return Fact::Unknown(why),
        }
    }
    Fact::Known(false)
}

/// Subsystem ids are in another place in each layout; `None` where the layout has none.
fn subsystem(
    registers: &mut dyn Registers,
    layout: u8,
    of_bridge: Fact<Option<u16>>,
) -> Option<Fact<(u16, u16)>> {
    let offset = match (layout, of_bridge) {
        (0, _) => 0x2c,
        (1, Fact::Known(Some(offset))) => offset + 4,
        (1, Fact::Unknown(why)) => return Some(Fact::Unknown(why)),
        (2, _) => 0x40,
        _ => return None,
    };
    Some(double_word(registers, offset).map(|ids| {
        let [vendor_low, vendor_high, device_low, device_high] = ids.to_le_bytes();
        (
            u16::from_le_bytes([vendor_low, vendor_high]),
            u16::from_le_bytes([device_low, device_high]),
        )
    }))
}

fn virtual_functions(registers: &mut dyn Registers, offset: u16) -> Fact<VirtualFunctions> {
    let read = |registers: &mut dyn Registers| -> Result<VirtualFunctions, Unknown> {
        let mut at = |from: u16, half: usize| match word(registers, offset + from, half) {
            Fact::Known(word) => Ok(word),
            Fact::Unknown(why) => Err(why),
        };
        Ok(VirtualFunctions {
            enabled: at(0x08, 0)? & 1 != 0,
            count: at(0x10, 0)?,
            offset: at(0x14, 0)?,
            stride: at(0x14, 1)?,
            device: at(0x18, 1)?,
        })
    };
    read(registers).map_or_else(Fact::Unknown, Fact::Known)
}

/// A double word that must be there. Capabilities near the end may claim to reach past it.
fn double_word(registers: &mut dyn Registers, offset: u16) -> Fact<u32> {
    if offset >= super::registers::END {
        return Fact::Unknown(unread(Gap::End));
    }
    registers.double_word(offset).map_or_else(|gap| Fact::Unknown(unread(gap)), Fact::Known)
}

/// The low (0) or high (1) half of a double word.
fn word(registers: &mut dyn Registers, offset: u16, half: usize) -> Fact<u16> {
    double_word(registers, offset).map(|word| {
        let bytes = word.to_le_bytes();
        if half == 0 {
            u16::from_le_bytes([bytes[0], bytes[1]])
        } else {
            u16::from_le_bytes([bytes[2], bytes[3]])
        }
    })
}

fn byte(registers: &mut dyn Registers, offset: u16) -> Result<u8, Unknown> {
    match double_word(registers, offset) {
        Fact::Known(word) => Ok(word.to_le_bytes()[0]),
        Fact::Unknown(why) => Err(why),
    }
}

#[cfg(test)]
mod tests;
