//! Hosts made by hand, a function at a time.

use ringfence_addr::PciAddress;
use ringfence_host::{
    Acs, AcsBits, Class, Fact, Function, Header, Host, Pcie, PortType, VirtualFunctions,
};

/// An address in domain 0.
pub(crate) fn at(text: &str) -> PciAddress {
    text.parse().expect("an address")
}

/// A host to which functions are added.
#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) host: Host,
}

/// An ACS capability with all that is required, on or off.
pub(crate) fn acs(control: AcsBits) -> Fact<Option<Acs>> {
    Fact::Known(Some(Acs {
        offset: 0x148,
        capability: Fact::Known(AcsBits::REQUIRED),
        control: Fact::Known(control),
    }))
}

impl Builder {
    fn function(&mut self, address: &str, port: Option<PortType>, header: Header) -> &mut Function {
        let address = at(address);
        let mut function = Function::new(address);
        function.identity.vendor = Fact::Known(0x1b36);
        function.identity.device = Fact::Known(0x000c);
        function.identity.class = Fact::Known(Class { base: 2, sub: 0, interface: 0 });
        function.header = Fact::Known(header);
        function.multifunction = Fact::Known(false);
        function.pcie = Fact::Known(port.map(|port| Pcie { offset: 0x40, port }));
        function.acs = Fact::Known(None);
        function.virtual_functions = Fact::Known(None);
        function.physical_function = Fact::Known(None);
        function.memory = Fact::Known(true);
        self.host.functions.entry(address).or_insert(function)
    }

    /// A bridge of this type with a bus below.
    pub(crate) fn port(&mut self, address: &str, port: PortType, below: u8) -> &mut Function {
        let header = Header::Bridge { secondary: below, subordinate: 0xff };
        self.function(address, Some(port), header)
    }

    /// A root port that isolates.
    pub(crate) fn good_root(&mut self, address: &str, below: u8) -> &mut Function {
        let function = self.port(address, PortType::RootPort, below);
        function.acs = acs(AcsBits::REQUIRED);
        function
    }

    /// A conventional bridge.
    pub(crate) fn conventional_bridge(&mut self, address: &str, below: u8) -> &mut Function {
        let header = Header::Bridge { secondary: below, subordinate: below };
        self.function(address, None, header)
    }

    /// A PCI Express endpoint.
    pub(crate) fn endpoint(&mut self, address: &str) -> &mut Function {
        self.function(address, Some(PortType::Endpoint), Header::Endpoint)
    }

    /// A conventional function.
    pub(crate) fn conventional(&mut self, address: &str) -> &mut Function {
        self.function(address, None, Header::Endpoint)
    }

    /// A physical function with virtual ones, not there yet.
    pub(crate) fn physical(&mut self, address: &str, count: u16, offset: u16) -> &mut Function {
        let function = self.endpoint(address);
        function.virtual_functions = Fact::Known(Some(VirtualFunctions {
            enabled: true,
            count,
            offset,
            stride: 1,
            device: 0x1234,
        }));
        function
    }

    /// A switch below bus `bus`: its upstream port, and downstream ports 0 and 1 with an endpoint
    /// each.
    pub(crate) fn switch(&mut self, bus: u8, control: Option<AcsBits>) {
        let inner = bus + 1;
        self.port(&format!("{bus:02x}:00.0"), PortType::UpstreamPort, inner);
        for number in 0..2 {
            let below = inner + 1 + number;
            let address = format!("{inner:02x}:{number:02x}.0");
            let port = self.port(&address, PortType::DownstreamPort, below);
            if let Some(control) = control {
                port.acs = acs(control);
            }
            self.endpoint(&format!("{below:02x}:00.0"));
        }
    }
}

/// Gives every function the group it has by `model`, as a kernel would have.
pub(crate) fn grouped_by(mut host: Host, model: ringfence_host::Model) -> Host {
    let partition = model.partition(&host);
    for (number, group) in (0_u32..).zip(&partition.groups) {
        for address in &group.functions {
            let function = host.functions.get_mut(address).expect("a function of the host");
            function.kernel_group = Fact::Known(Some(number));
        }
    }
    host
}
