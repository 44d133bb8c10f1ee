//! Registers kept as they are, of the few functions whose config space says where memory is.

use crate::fact::Fact;
use crate::function::Function;
use crate::graphics;

use super::chain::unread;
use super::registers::Registers;

const INTEL: u16 = 0x8086;

/// Keeps the registers of Intel's graphics on bus 0 and of the host bridge at its beginning.
pub(super) fn keep(function: &mut Function, registers: &mut dyn Registers) {
    let place = function.address;
    if place.bus() != 0 || function.identity.vendor != Fact::Known(INTEL) {
        return;
    }
    let Fact::Known(class) = function.identity.class else { return };
    let offsets = match (class.base, class.sub) {
        (0x03, _) => graphics::OF_GRAPHICS,
        (0x06, 0x00) if place.device() == 0 && place.function() == 0 => graphics::OF_HOST_BRIDGE,
        _ => return,
    };
    for &offset in offsets {
        let value = registers.double_word(offset);
        let value = value.map_or_else(|gap| Fact::Unknown(unread(gap)), Fact::Known);
        function.registers.insert(offset, value);
    }
}
