//! Verdicts in words, with the register that decided them.

use std::borrow::Cow;

use crate::acs::Acs;
use crate::fact::{Fact, Unknown};
use crate::function::Function;
use crate::isolation::{Basis, Verdict};
use crate::reason::{Register, Rule};

impl Verdict {
    /// The rule by which a function isolates that no register shows isolating.
    pub(crate) fn assertion(&self) -> Option<Rule> {
        match &self.basis {
            Basis::Quirk(answer) if answer.row.is_sunrise_point() => Some(Rule::SunrisePoint),
            Basis::Quirk(_) => Some(Rule::VendorQuirk),
            Basis::Override(_) => Some(Rule::Override),
            Basis::SetAtBoot => Some(Rule::SetAtBoot),
            Basis::Unread(..) | Basis::UndefinedType => Some(Rule::Unread),
            _ => None,
        }
    }

    /// The register that decided it.
    pub(crate) fn register(&self, function: &Function) -> Option<Register> {
        match &self.basis {
            Basis::Registers { .. } | Basis::SetAtBoot => control(function),
            Basis::NoCapability => Some(register("ACS capability", "none")),
            Basis::Conventional => Some(register("PCI Express capability", "none")),
            Basis::NeverOnThisType(port) => {
                Some(Register { name: port_register(function), value: format!("{port}") })
            }
            Basis::OnlyFunction => {
                let value = match function.multifunction {
                    Fact::Known(bit) => format!("{}", u8::from(bit)),
                    Fact::Unknown(why) => format!("{why}"),
                };
                Some(Register { name: "header type bit 7".to_owned(), value })
            }
            Basis::UndefinedType => {
                Some(Register { name: port_register(function), value: "reserved".to_owned() })
            }
            Basis::Quirk(answer) => match answer.control {
                Some(value) => {
                    Some(Register { name: double_word(function), value: format!("{value:#010x}") })
                }
                None => control(function).or_else(|| Some(register("ACS capability", "none"))),
            },
            Basis::Override(argument) => Some(register("kernel command line", argument)),
            Basis::Unread(why, what) => Some(unread(what, *why)),
        }
    }

    /// What it rests on, as a clause: `its ACS control register lacks SV RR`.
    pub(crate) fn clause(&self) -> Cow<'static, str> {
        Cow::Borrowed(match &self.basis {
            Basis::Registers { missing } if missing.is_empty() => {
                "its ACS control register has all that is required and can be set"
            }
            Basis::Registers { missing } => {
                return format!("its ACS control register lacks {missing}").into();
            }
            Basis::NoCapability => "it has no ACS capability",
            Basis::Conventional => "it is conventional PCI, which has no ACS",
            Basis::NeverOnThisType(port) => {
                return format!("it is a {port}, which never has ACS").into();
            }
            Basis::OnlyFunction => "it is the only function of its device",
            Basis::UndefinedType => "its port type is not defined",
            Basis::Quirk(answer) if answer.row.is_sunrise_point() => match answer.control {
                Some(_) if answer.isolates => {
                    "its ACS control is a double word (Intel's erratum) and has all that is \
                     required"
                }
                Some(_) => {
                    let missing = answer.missing;
                    let what = "its ACS control is a double word (Intel's erratum) and lacks";
                    return format!("{what} {missing}").into();
                }
                None => {
                    "its ACS control is a double word (Intel's erratum) which was not shown, and \
                     Linux sets it at boot"
                }
            },
            Basis::Quirk(answer) if answer.isolates => {
                let vendor = answer.row.vendor_name;
                return format!("{vendor} says that it isolates without ACS").into();
            }
            Basis::Quirk(answer) => {
                let vendor = answer.row.vendor_name;
                return format!("Linux holds that this device of {vendor} does not").into();
            }
            Basis::Override(argument) => {
                let by = "the kernel's command line claims it";
                return format!("{by} ({argument}), no register does").into();
            }
            Basis::SetAtBoot => {
                "it has an ACS capability, and Linux sets it at boot; the value was not shown"
            }
            Basis::Unread(why, what) => {
                return format!("{what} could not be read ({why})").into();
            }
        })
    }
}

fn register(name: &str, value: &str) -> Register {
    Register { name: name.to_owned(), value: value.to_owned() }
}

fn unread(what: &str, why: Unknown) -> Register {
    let name = what.strip_prefix("the ").unwrap_or(what).to_owned();
    Register { name, value: why.to_string() }
}

fn control(function: &Function) -> Option<Register> {
    let acs: Acs = function.acs.known().copied().flatten()?;
    let name = match acs.offset.checked_add(6) {
        Some(at) if acs.offset != 0 => format!("ACS control at {at:#05x}"),
        _ => "ACS control".to_owned(),
    };
    let value = match acs.control {
        Fact::Known(bits) => format!("{:#06x} ({bits})", bits.bits()),
        Fact::Unknown(why) => why.to_string(),
    };
    Some(Register { name, value })
}

fn double_word(function: &Function) -> String {
    match function.acs.known().copied().flatten().and_then(|acs| acs.offset.checked_add(8)) {
        Some(at) => format!("ACS control double word at {at:#05x}"),
        None => "ACS control double word".to_owned(),
    }
}

fn port_register(function: &Function) -> String {
    match function.pcie.known().copied().flatten() {
        Some(pcie) if pcie.offset != 0 => match pcie.offset.checked_add(2) {
            Some(at) => format!("PCI Express capabilities at {at:#04x}"),
            None => "PCI Express capabilities".to_owned(),
        },
        _ => "PCI Express capabilities".to_owned(),
    }
}
