//! Why functions are together, down to the register.

use std::fmt;

use ringfence_addr::PciAddress;

/// One step of an explanation: at this function, this register says this, so this rule holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The rule.
    pub rule: Rule,
    /// The function the step is about.
    pub at: PciAddress,
    /// The other function it ties it to, or parts it from.
    pub with: Option<PciAddress>,
    /// The register that decided it and what it said, if one did.
    pub register: Option<Register>,
    /// How far that can be believed.
    pub standing: Standing,
    /// The step in words, a whole sentence.
    pub sentence: String,
}

/// A register and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// `ACS control at 0x14e`.
    pub name: String,
    /// `0x0000 (none)`, or why it is not known.
    pub value: String,
}

/// How far a statement can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Registers say so.
    Proven,
    /// Somebody says so: a vendor by a quirk in the kernel, the operator by an override.
    Asserted,
    /// What would decide it could not be read.
    Unknown,
}

/// Which rule makes a step. The name is stable and published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Nothing ties it to another function.
    Alone,
    /// Requests from behind a conventional bridge carry the bridge's requester id.
    BridgeAlias,
    /// A device puts requests on the bus under another function's requester id.
    QuirkAlias,
    /// Firmware's IVRS table states an alias.
    FirmwareAlias,
    /// Functions behind Intel VMD translate as the VMD endpoint.
    VmdAlias,
    /// A port on the way to the root does not keep requests from turning around below it.
    PortWithoutAcs,
    /// Functions of one slot, without ACS, can reach each other inside the device.
    FunctionsOfOneDevice,
    /// The kernel believes a vendor that a function isolates without ACS.
    VendorQuirk,
    /// Root ports whose ACS control is where another register should be.
    SunrisePoint,
    /// The command line claims isolation that no register shows.
    Override,
    /// A virtual function counts as isolated from its siblings without evidence.
    VirtualFunction,
    /// Siblings behind ports of one switch that has no ACS.
    SwitchWithoutAcs,
    /// A bridge or root port isolates what is below it as one.
    BridgeIsolates,
    /// The kernel said so.
    KernelSays,
    /// No IOMMU translates for it.
    NoIommu,
    /// The function's config space can be reached through memory-mapped registers.
    ConfigThroughMemory,
    /// An error of one function takes the bus with it.
    BusWideError,
    /// Requests of any function may go out under function 0's requester id.
    FunctionZeroId,
    /// The host bridge sees cycles only after others on the bus could have taken them.
    DecodedBeforeHostBridge,
    /// The register was not shown; Linux sets it at boot wherever it uses an IOMMU.
    SetAtBoot,
    /// The register that would decide it could not be read.
    Unread,
    /// The kernel gives a group only when a driver takes the function, and none has.
    NotProbed,
    /// Functions share one conventional bus, on which all see all requests.
    SharedBus,
}

impl Rule {
    /// The stable name: `port-without-acs`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::BridgeAlias => "bridge-alias",
            Self::QuirkAlias => "quirk-alias",
            Self::FirmwareAlias => "firmware-alias",
            Self::VmdAlias => "vmd-alias",
            Self::PortWithoutAcs => "port-without-acs",
            Self::FunctionsOfOneDevice => "functions-of-one-device",
            Self::VendorQuirk => "vendor-quirk",
            Self::SunrisePoint => "sunrise-point",
            Self::Override => "override",
            Self::VirtualFunction => "virtual-function",
            Self::SwitchWithoutAcs => "switch-without-acs",
            Self::BridgeIsolates => "bridge-isolates",
            Self::KernelSays => "kernel-says",
            Self::NoIommu => "no-iommu",
            Self::ConfigThroughMemory => "config-through-memory",
            Self::BusWideError => "bus-wide-error",
            Self::FunctionZeroId => "function-zero-id",
            Self::DecodedBeforeHostBridge => "decoded-before-host-bridge",
            Self::SetAtBoot => "set-at-boot",
            Self::Unread => "unread",
            Self::NotProbed => "not-probed",
            Self::SharedBus => "shared-bus",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Proven => "proven",
            Self::Asserted => "asserted",
            Self::Unknown => "unknown",
        })
    }
}

/// One change that would part what is together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What to do, as a sentence for people.
    pub sentence: String,
    /// The same for the command line of `groups` (`--set 0000:00:01.0:acs=on`), if it can be tried.
    pub what_if: Option<String>,
    /// Kernel arguments that do it, if any.
    pub kernel_argument: Option<String>,
}
