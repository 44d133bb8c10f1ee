//! Arguments of the host kernel's that weaken isolation.

use ringfence_addr::PciAddress;
use ringfence_host::{Class, Fact, Host};
use ringfence_refusal::Code;

use super::check::{Check, Status};
use super::codes::{ACS_OVERRIDE, NOT_READ, NOT_TRANSLATED, UNSAFE_INTERRUPTS};
use super::host::HOST;
use crate::described::Described;

/// Names of arguments, a value among the comma-separated ones that makes it count (any, if none), and
/// what it is then.
const KNOWN: &[(&[&str], &[&str], &Code)] = &[
    (&["pcie_acs_override"], &[], &ACS_OVERRIDE),
    (
        &["vfio_iommu_type1.allow_unsafe_interrupts", "iommufd.allow_unsafe_interrupts"],
        &["1", "y", "Y", "on"],
        &UNSAFE_INTERRUPTS,
    ),
    (&["intremap"], &["off"], &UNSAFE_INTERRUPTS),
    (&["nointremap"], &[], &UNSAFE_INTERRUPTS),
    (&["intel_iommu"], &["igfx_off"], &NOT_TRANSLATED),
    (&["iommu"], &["pt"], &NOT_TRANSLATED),
    (&["iommu.passthrough"], &["1", "y", "Y", "on"], &NOT_TRANSLATED),
];

pub(super) fn checks(host: &Host, vm: Option<&Described>) -> Vec<Check> {
    let line = match &host.kernel.command_line {
        Fact::Known(line) => line,
        Fact::Unknown(why) => {
            let finding = format!("the kernel's arguments: {why}");
            return vec![Check::warn(&NOT_READ, HOST, finding)];
        }
    };
    let mut checks = Vec::new();
    for word in line.split_ascii_whitespace() {
        let Some(code) = weakening(word) else { continue };
        let mut check = Check::warn(code, HOST, format!("{} (`{word}`)", code.sentence))
            .remedy(format!("boot without `{word}`"));
        if word.contains("igfx_off")
            && let Some(function) = graphics(host, vm)
        {
            check.status = Status::Fail;
            check.subject = function.to_string();
        }
        checks.push(check);
    }
    if checks.is_empty() {
        let finding = "no argument of the kernel's weakens isolation (options of modules in files were \
                       not read)";
        checks.push(Check::pass(&NOT_TRANSLATED, HOST, finding));
    }
    checks
}

fn weakening(word: &str) -> Option<&'static Code> {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    let is_it = |(names, values, _): &&(&[&str], &[&str], &Code)| {
        let counts = value.split(',').any(|one| values.contains(&one));
        names.contains(&name) && (values.is_empty() || counts)
    };
    KNOWN.iter().find(is_it).map(|(_, _, code)| *code)
}

/// Intel's integrated graphics among the VM's functions.
fn graphics(host: &Host, vm: Option<&Described>) -> Option<PciAddress> {
    let functions = vm.into_iter().flat_map(|vm| vm.functions());
    let mut graphics = functions.filter(|address| {
        host.function(*address).is_some_and(|function| {
            address.bus() == 0
                && function.identity.vendor == Fact::Known(0x8086)
                && matches!(function.identity.class, Fact::Known(Class { base: 3, .. }))
        })
    });
    graphics.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_weaken_isolation_are_known_by_name_and_value() {
        for (word, code) in [
            ("pcie_acs_override=downstream,multifunction", Some(&ACS_OVERRIDE)),
            ("vfio_iommu_type1.allow_unsafe_interrupts=1", Some(&UNSAFE_INTERRUPTS)),
            ("vfio_iommu_type1.allow_unsafe_interrupts=0", None),
            ("intremap=off", Some(&UNSAFE_INTERRUPTS)),
            ("intel_iommu=on,igfx_off", Some(&NOT_TRANSLATED)),
            ("intel_iommu=on", None),
            ("iommu=pt", Some(&NOT_TRANSLATED)),
            ("iommu.passthrough=1", Some(&NOT_TRANSLATED)),
            ("root=igfx_off", None),
        ] {
            assert_eq!(weakening(word), code, "{word}");
        }
    }
}
