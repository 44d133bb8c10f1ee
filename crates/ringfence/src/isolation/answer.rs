//! `ringfence.groups/1`, the shape of `groups --json`.

use ringfence_host::{Fact, Function, Host};
use serde::Serialize;

use super::{View, kind, name, situation, standing};

/// What `groups --json` prints.
#[derive(Serialize)]
pub(crate) struct Answer {
    pub(crate) schema: &'static str,
    model: String,
    kernel: Option<String>,
    iommus: Option<Vec<String>>,
    notes: Vec<String>,
    groups: Vec<Group>,
    without: Vec<Without>,
    /// Where the kernel's own groups are others; none where it has none or they were not read.
    differences: Option<Vec<Difference>>,
}

#[derive(Serialize)]
struct Group {
    key: String,
    label: String,
    standing: String,
    functions: Vec<OneFunction>,
    reasons: Vec<Reason>,
}

#[derive(Serialize)]
struct OneFunction {
    address: String,
    name: String,
    kind: String,
    vendor: Option<String>,
    device: Option<String>,
    class: Option<String>,
    driver: Option<String>,
    kernel_group: Option<u32>,
}

/// A reason, as published.
#[derive(Serialize)]
pub(crate) struct Reason {
    rule: &'static str,
    at: String,
    with: Option<String>,
    register: Option<String>,
    value: Option<String>,
    standing: String,
    sentence: String,
}

#[derive(Serialize)]
struct Without {
    address: String,
    reason: Reason,
}

/// Functions that are together by one account and apart by the other.
#[derive(Serialize)]
pub(crate) struct Difference {
    /// The functions of one group by this model.
    pub(crate) functions: Vec<String>,
    /// The kernel's groups they are in.
    pub(crate) kernel_groups: Vec<Option<u32>>,
    pub(crate) sentence: String,
    /// Whose word is the better one, and the known gap that explains it.
    pub(crate) verdict: Option<&'static str>,
    pub(crate) gap: Option<String>,
}

impl Answer {
    pub(crate) fn new(
        view: &View<'_>,
        model: String,
        differences: Option<Vec<Difference>>,
    ) -> Self {
        let host = view.host;
        let mut notes = situation(host).unwrap_or_default();
        notes.extend(host.remarks.iter().cloned());
        let groups = view.partition.groups.iter().enumerate().map(|(place, group)| Group {
            key: group.key.to_string(),
            label: view.label(place).to_owned(),
            standing: standing(group).to_string(),
            functions: group.functions.iter().filter_map(|one| function(host, *one)).collect(),
            reasons: group.reasons.iter().map(Reason::from).collect(),
        });
        let without = view.partition.without.iter().map(|(address, reason)| Without {
            address: address.to_string(),
            reason: reason.into(),
        });
        Self {
            schema: "ringfence.groups/1",
            model,
            kernel: host.kernel.release.known().cloned(),
            iommus: host
                .iommus
                .known()
                .map(|iommus| iommus.iter().map(|iommu| iommu.name.clone()).collect()),
            notes,
            groups: groups.collect(),
            without: without.collect(),
            differences,
        }
    }
}

impl From<&ringfence_host::Reason> for Reason {
    fn from(reason: &ringfence_host::Reason) -> Self {
        let register = reason.register.as_ref();
        Self {
            rule: reason.rule.name(),
            at: reason.at.to_string(),
            with: reason.with.map(|with| with.to_string()),
            register: register.map(|register| register.name.clone()),
            value: register.map(|register| register.value.clone()),
            standing: reason.standing.to_string(),
            sentence: reason.sentence.clone(),
        }
    }
}

fn function(host: &Host, address: ringfence_addr::PciAddress) -> Option<OneFunction> {
    let function: &Function = host.function(address)?;
    let identity = &function.identity;
    let hexadecimal = |id: &Fact<u16>| id.known().map(|id| format!("{id:04x}"));
    Some(OneFunction {
        address: address.to_string(),
        name: name(function),
        kind: kind(function),
        vendor: hexadecimal(&identity.vendor),
        device: hexadecimal(&identity.device),
        class: identity
            .class
            .known()
            .map(|class| format!("{:02x}{:02x}{:02x}", class.base, class.sub, class.interface)),
        driver: function.driver.known().cloned().flatten(),
        kernel_group: function.kernel_group.known().copied().flatten(),
    })
}
