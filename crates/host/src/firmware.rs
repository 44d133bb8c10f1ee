//! The functions of a host, as firmware's tables name them.

use ringfence_tables::{PciFunction, PciFunctions};

use crate::fact::Fact;
use crate::function::{Function, Header};
use crate::host::Host;

/// What tables turn on of each function. Whether Arm host bridges ask to keep the setup of firmware is
/// in no source; it is taken that they do, so that no region is missed.
pub fn pci_functions(host: &Host) -> PciFunctions {
    let by_address = host.functions.values().map(|one| (one.address, of(one))).collect();
    PciFunctions { by_address, keeps_boot_setup: true }
}

fn of(function: &Function) -> PciFunction {
    let class = function.identity.class.known();
    let number = |base: u8, sub: u8, interface: u8| u32::from_be_bytes([0, base, sub, interface]);
    let behind = match function.header {
        Fact::Known(
            Header::Bridge { secondary, subordinate } | Header::CardBus { secondary, subordinate },
        ) => Some((secondary, subordinate)),
        _ => None,
    };
    PciFunction {
        class: class.map(|class| number(class.base, class.sub, class.interface)),
        is_bridge: behind.is_some(),
        behind,
        physical: function.physical_function.known().copied().flatten(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::Class;

    #[test]
    fn a_function_is_what_its_registers_say() {
        let mut host = Host::default();
        let at = |text: &str| text.parse().expect("an address");
        let mut port = Function::new(at("00:1c.0"));
        port.header = Fact::Known(Header::Bridge { secondary: 3, subordinate: 5 });
        port.identity.class = Fact::Known(Class { base: 6, sub: 4, interface: 0 });
        let mut child = Function::new(at("03:10.0"));
        child.header = Fact::Known(Header::Endpoint);
        child.physical_function = Fact::Known(Some(at("03:00.0")));
        for function in [port, child] {
            host.functions.insert(function.address, function);
        }
        let functions = pci_functions(&host).by_address;
        let port = functions[&at("00:1c.0")];
        assert_eq!(
            (port.class, port.behind, port.is_bridge),
            (Some(0x06_0400), Some((3, 5)), true)
        );
        let child = functions[&at("03:10.0")];
        assert_eq!((child.class, child.behind), (None, None));
        assert_eq!(child.physical, Some(at("03:00.0")));
    }
}
