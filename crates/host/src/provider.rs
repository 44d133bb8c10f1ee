//! Several providers at once, each stating groups for the functions in its scope.
//!
//! A host may have several IOMMUs, and a platform may have rules of its own. Each provider speaks
//! of its own functions; a function that none has, or that two have, is a finding and not an error.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::PciAddress;

use crate::host::{Host, Iommu};
use crate::model::Model;
use crate::partition::{Group, Partition};
use crate::reason::{Reason, Register, Rule, Standing};

/// States groups with reasons for some functions of a host.
pub trait Provider {
    /// Its name, for people: that of an IOMMU, or of a platform.
    fn name(&self) -> String;
    /// The functions it speaks of.
    fn scope(&self, host: &Host) -> BTreeSet<PciAddress>;
    /// The rules it states their groups by; what they say of others is not heard.
    fn model(&self) -> Model;
}

/// What several providers say, put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The groups; functions that no provider has are without.
    pub partition: Partition,
    /// Who speaks of each function.
    pub by: BTreeMap<PciAddress, Vec<String>>,
    /// Functions that no provider has, or several.
    pub findings: Vec<Reason>,
}

/// One IOMMU and the functions it translates for.
#[derive(Clone, Debug)]
pub struct OneIommu {
    iommu: Iommu,
    model: Model,
}

/// A platform whose rules cover all functions.
#[derive(Clone, Debug)]
pub struct Platform {
    name: &'static str,
    model: Model,
}

impl Provider for OneIommu {
    fn name(&self) -> String {
        self.iommu.name.clone()
    }

    fn scope(&self, _host: &Host) -> BTreeSet<PciAddress> {
        self.iommu.functions.known().into_iter().flatten().copied().collect()
    }

    fn model(&self) -> Model {
        self.model
    }
}

impl Provider for Platform {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn scope(&self, host: &Host) -> BTreeSet<PciAddress> {
        host.functions.keys().copied().collect()
    }

    fn model(&self) -> Model {
        self.model
    }
}

/// The providers of a host, with `model` for the rules: one for each IOMMU whose functions are
/// known, else one for the platform. Power has rules of its own, whatever the model.
pub fn providers(host: &Host, model: Model) -> Vec<Box<dyn Provider>> {
    let machine = host.kernel.machine.known().map_or("", String::as_str);
    if machine.starts_with("ppc64") {
        return vec![Box::new(Platform { name: "power", model: Model::Bridge })];
    }
    let known: Vec<&Iommu> = host
        .iommus
        .known()
        .into_iter()
        .flatten()
        .filter(|iommu| iommu.functions.is_known())
        .collect();
    if known.is_empty() {
        return vec![Box::new(Platform { name: "pci", model })];
    }
    known
        .into_iter()
        .map(|iommu| Box::new(OneIommu { iommu: iommu.clone(), model }) as Box<dyn Provider>)
        .collect()
}

/// What the providers say of the host.
pub fn state(host: &Host, providers: &[Box<dyn Provider>]) -> Stated {
    let mut speakers: BTreeMap<PciAddress, Vec<usize>> = BTreeMap::new();
    for (number, provider) in providers.iter().enumerate() {
        let scope = provider.scope(host);
        for address in scope.into_iter().filter(|address| host.function(*address).is_some()) {
            speakers.entry(address).or_default().push(number);
        }
    }
    let mut groups: Vec<(usize, Group)> = Vec::new();
    let mut without = BTreeMap::new();
    let mut models: Vec<Model> = Vec::new();
    for model in providers.iter().map(|provider| provider.model()) {
        if models.contains(&model) {
            continue;
        }
        models.push(model);
        let partition = model.partition(host);
        let who = |address: &PciAddress| {
            let all = speakers.get(address).map_or(&[][..], Vec::as_slice);
            all.iter().copied().filter(|&number| providers[number].model() == model)
        };
        without.extend(
            partition.without.into_iter().filter(|(address, _)| who(address).next().is_some()),
        );
        for group in partition.groups {
            let mut parts: BTreeMap<usize, Vec<PciAddress>> = BTreeMap::new();
            for address in &group.functions {
                who(address).for_each(|number| parts.entry(number).or_default().push(*address));
            }
            groups.extend(
                parts
                    .into_iter()
                    .map(|(number, functions)| (number, Group { functions, ..group.clone() })),
            );
        }
    }
    groups.sort_by_key(|(number, _)| *number);
    let groups = groups.into_iter().map(|(_, group)| group).collect();
    let model = models.last().map_or("", |model| model.name());
    let names = |numbers: Vec<usize>| numbers.into_iter().map(|number| providers[number].name());
    let by: BTreeMap<PciAddress, Vec<String>> =
        speakers.into_iter().map(|(address, all)| (address, names(all).collect())).collect();
    let mut findings = Vec::new();
    for (&address, names) in by.iter().filter(|(_, names)| names.len() > 1) {
        findings.push(finding(address, "claimed by", &names.join(" and "), Standing::Proven));
    }
    for &address in host.functions.keys() {
        if !by.contains_key(&address) && !without.contains_key(&address) {
            let reason = finding(address, "covered by", "no IOMMU", Standing::Proven);
            findings.push(reason.clone());
            without.insert(address, reason);
        }
    }
    let mut groups = merged(groups);
    for address in groups.iter().flat_map(|group| &group.functions) {
        without.remove(address);
    }
    groups.sort_by_key(|group| group.functions[0]);
    Stated { partition: Partition { model, groups, without }, by, findings }
}

fn finding(address: PciAddress, what: &str, by: &str, standing: Standing) -> Reason {
    Reason {
        rule: Rule::NoIommu,
        at: address,
        with: None,
        register: Some(Register { name: "IOMMU".to_owned(), value: by.to_owned() }),
        standing,
        sentence: format!("{address} is {what} {by}."),
    }
}

/// Groups that share a function become one: no provider's word is dropped.
fn merged(groups: Vec<Group>) -> Vec<Group> {
    let mut sets = crate::sets::Sets::new(groups.len());
    let mut holder: BTreeMap<PciAddress, usize> = BTreeMap::new();
    for (number, group) in groups.iter().enumerate() {
        for &address in &group.functions {
            let first = *holder.entry(address).or_insert(number);
            sets.join(first, number);
        }
    }
    let mut made: BTreeMap<usize, Group> = BTreeMap::new();
    for (number, group) in groups.into_iter().enumerate() {
        match made.entry(sets.find(number)) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(group);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let whole = entry.get_mut();
                whole.functions.extend(group.functions);
                whole.functions.sort_unstable();
                whole.functions.dedup();
                whole.reasons.extend(group.reasons);
            }
        }
    }
    made.into_values().collect()
}
