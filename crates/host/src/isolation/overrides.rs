//! What the kernel's command line claims or changes of ACS.

use crate::fact::Fact;
use crate::host::Host;
use crate::port::PortType;
use crate::quirks;
use crate::topology::Topology;

/// What `pcie_acs_override=` of patched kernels claims: isolation that no register shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    downstream: bool,
    multifunction: bool,
    ids: Vec<(u16, u16)>,
}

impl Claims {
    /// What the command line of the host claims.
    pub(crate) fn of(host: &Host) -> Self {
        let mut claims = Self::default();
        for value in arguments(host).filter_map(|word| word.strip_prefix("pcie_acs_override=")) {
            for claim in value.split(',') {
                match claim {
                    "downstream" => claims.downstream = true,
                    "multifunction" => claims.multifunction = true,
                    _ => claims.ids.extend(claim.strip_prefix("id:").and_then(ids)),
                }
            }
        }
        claims
    }

    /// The claim that covers a function, if one does: never where there is a capability.
    pub(crate) fn on(&self, topology: &Topology<'_>, index: usize) -> Option<&'static str> {
        let node = &topology.nodes[index];
        let Fact::Known(Some(port)) = node.port else { return None };
        if node.function.acs != Fact::Known(None) {
            return None;
        }
        if let (Some(vendor), Some(device)) = quirks::ids(&node.function)
            && self.ids.contains(&(vendor, device))
        {
            return Some("pcie_acs_override=id:");
        }
        match port {
            PortType::RootPort | PortType::DownstreamPort => {
                self.downstream.then_some("pcie_acs_override=downstream")
            }
            PortType::Endpoint
            | PortType::LegacyEndpoint
            | PortType::UpstreamPort
            | PortType::RootComplexEndpoint => (self.multifunction && node.multifunction)
                .then_some("pcie_acs_override=multifunction"),
            _ => None,
        }
    }
}

/// `8086:1c10`.
fn ids(text: &str) -> Option<(u16, u16)> {
    let (vendor, device) = text.split_once(':')?;
    Some((u16::from_str_radix(vendor, 16).ok()?, u16::from_str_radix(device, 16).ok()?))
}

fn arguments(host: &Host) -> impl Iterator<Item = &str> {
    host.kernel.command_line.known().into_iter().flat_map(|line| line.split_whitespace())
}

/// Whether the command line changes ACS settings of some function.
pub(crate) fn changes_acs(host: &Host) -> bool {
    !changes(host).is_empty()
}

/// The options of `pci=` that change ACS settings.
pub(crate) fn changes(host: &Host) -> Vec<String> {
    let values = arguments(host).filter_map(|word| word.strip_prefix("pci="));
    let options = values.flat_map(|value| value.split(','));
    options
        .filter(|option| {
            option.starts_with("config_acs=") || option.starts_with("disable_acs_redir=")
        })
        .map(str::to_owned)
        .collect()
}
