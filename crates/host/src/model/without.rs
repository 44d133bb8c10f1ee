//! Functions that Linux puts in no group, and why.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::PciAddress;

use crate::fact::Fact;
use crate::function::Function;
use crate::host::Host;
use crate::model::{Ground, Model};
use crate::quirks;
use crate::reason::{Reason, Register, Rule, Standing};

/// What a kernel leaves without a group, as far as the source shows.
pub(crate) fn find(ground: &Ground<'_>, model: Model) -> BTreeMap<PciAddress, Reason> {
    let host = ground.topology.host;
    let iommus = named(host);
    let late = model == Model::Linux612 && probes_late(host);
    let found = host.functions.values().filter_map(|function| {
        let reason = itself(&iommus, function).or_else(|| not_probed(function).filter(|_| late))?;
        Some((function.address, reason))
    });
    found.collect()
}

/// Why the kernel that ran has no group for a function; `iommus` are those [`named`].
pub(crate) fn why_none(host: &Host, iommus: &BTreeSet<PciAddress>, function: &Function) -> Reason {
    if let Some(reason) = itself(iommus, function) {
        return reason;
    }
    if host.iommus.known().is_some_and(Vec::is_empty) {
        return no_iommu(host, function);
    }
    if probes_late(host)
        && let Some(reason) = not_probed(function)
    {
        return reason;
    }
    let sentence = format!(
        "The kernel has {} in no group, and nothing read tells why: no IOMMU may cover it.",
        function.address
    );
    Reason {
        rule: Rule::NoIommu,
        at: function.address,
        with: None,
        register: None,
        standing: Standing::Unknown,
        sentence,
    }
}

fn no_iommu(host: &Host, function: &Function) -> Reason {
    let why = match (&host.is_virtual_machine, &host.tables) {
        (Fact::Known(true), _) => "this is a virtual machine that was given none",
        (_, Fact::Known(tables)) if tables.iter().any(|table| is_of_iommu(table)) => {
            "firmware describes one, so the kernel was told not to use it"
        }
        (_, Fact::Known(_)) => "firmware describes none",
        _ => "firmware's tables were not read",
    };
    Reason {
        rule: Rule::NoIommu,
        at: function.address,
        with: None,
        register: None,
        standing: Standing::Proven,
        sentence: format!("The kernel uses no IOMMU, so {} has no group: {why}.", function.address),
    }
}

fn is_of_iommu(table: &str) -> bool {
    matches!(table, "DMAR" | "IVRS" | "IORT" | "VIOT")
}

/// The IOMMUs that are named by their own functions.
pub(crate) fn named(host: &Host) -> BTreeSet<PciAddress> {
    let iommus = host.iommus.known().into_iter().flatten();
    iommus.filter_map(|iommu| iommu.name.parse().ok()).collect()
}

/// The IOMMU's own function is not translated.
fn itself(iommus: &BTreeSet<PciAddress>, function: &Function) -> Option<Reason> {
    let (vendor, device) = quirks::ids(function);
    let class = function.identity.class.known();
    let is_amd = class.is_some_and(|class| (class.base, class.sub) == (0x08, 0x06))
        && matches!(vendor, Some(0x1022 | 0x1002));
    let is_virtio = (vendor, device) == (Some(0x1af4), Some(0x1057));
    let is_named = iommus.contains(&function.address);
    (is_amd || is_virtio || is_named).then(|| Reason {
        rule: Rule::NoIommu,
        at: function.address,
        with: None,
        register: class.map(|class| Register {
            name: "class code".to_owned(),
            value: format!("{:02x}{:02x}{:02x}", class.base, class.sub, class.interface),
        }),
        standing: Standing::Proven,
        sentence: format!(
            "{} is the IOMMU itself, whose requests no IOMMU translates.",
            function.address
        ),
    })
}

/// Whether the IOMMU is of those for which Linux before 6.15 makes groups when drivers come.
fn probes_late(host: &Host) -> bool {
    host.iommus.known().is_some_and(|iommus| {
        iommus.iter().any(|iommu| {
            let name = iommu.name.as_str();
            name.parse::<PciAddress>().is_ok()
                || ["virtio", "smmu", "arm-smmu"].iter().any(|kind| name.starts_with(kind))
        })
    })
}

fn not_probed(function: &Function) -> Option<Reason> {
    // A driver that came and would not stay leaves the group behind.
    let has_group = matches!(function.kernel_group, Fact::Known(Some(_)));
    (matches!(function.driver, Fact::Known(None)) && !has_group).then(|| Reason {
        rule: Rule::NotProbed,
        at: function.address,
        with: None,
        register: Some(Register { name: "driver".to_owned(), value: "none".to_owned() }),
        standing: Standing::Proven,
        sentence: format!(
            "No driver has {}, and with this kind of IOMMU Linux before 6.15 makes a group only \
             when one comes.",
            function.address
        ),
    })
}
