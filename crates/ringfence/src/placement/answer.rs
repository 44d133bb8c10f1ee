//! A plan as JSON.

use ringfence_addr::{Address, Span};
use ringfence_plan::{Plan, Settlement};
use ringfence_refusal::Refusal;
use serde::Serialize;

/// `ringfence.plan/1`.
#[derive(Serialize)]
pub(crate) struct Answer {
    schema: &'static str,
    verdict: &'static str,
    machine: String,
    map: Vec<Entry>,
    regions: Vec<Region>,
    risks: Vec<Risk>,
    settings: Option<Settings>,
    viommu: Option<Viommu>,
    windows: Vec<Window>,
    refusals: Vec<Refused>,
}

#[derive(Serialize)]
struct Entry {
    first: String,
    last: String,
    #[serde(rename = "use")]
    usage: &'static str,
    backed: bool,
    reason: String,
}

#[derive(Serialize)]
struct Region {
    first: String,
    last: String,
    kind: String,
    cases: Vec<String>,
    policy: &'static str,
    becomes: &'static str,
    reason: String,
}

#[derive(Serialize)]
struct Risk {
    case: String,
    sentence: String,
}

#[derive(Serialize)]
struct Settings {
    memory_bytes: u64,
    low_bytes: Option<u64>,
    high_first: String,
    address_bits: u8,
    amd_vcpu: bool,
    stolen_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Viommu {
    kind: &'static str,
    regions: Vec<Told>,
}

#[derive(Serialize)]
struct Told {
    first: String,
    last: String,
    devices: Vec<String>,
}

#[derive(Serialize)]
struct Window {
    name: String,
    first: String,
    last: String,
    device: String,
}

#[derive(Serialize)]
struct Refused {
    code: String,
    name: &'static str,
    detail: String,
    remedy: &'static str,
}

fn ends<A: Address>(span: &Span<A>) -> (String, String) {
    (span.first().to_string(), span.last().to_string())
}

impl Answer {
    pub(crate) fn new(machine: String, plan: &Result<Plan, Vec<Refusal>>) -> Self {
        let refused = plan.as_ref().err().map_or(&[][..], Vec::as_slice);
        let plan = plan.as_ref().ok();
        Self {
            schema: "ringfence.plan/1",
            verdict: if plan.is_some() { "planned" } else { "refused" },
            machine,
            map: plan.map_or_else(Vec::new, |plan| plan.map.iter().map(Entry::from).collect()),
            regions: plan
                .map_or_else(Vec::new, |plan| plan.settlements.iter().map(Region::from).collect()),
            risks: plan.map_or_else(Vec::new, |plan| plan.risks.iter().map(Risk::from).collect()),
            settings: plan.map(|plan| Settings::from(&plan.settings)),
            viommu: plan.and_then(|plan| plan.viommu.as_ref()).map(Viommu::from),
            windows: plan
                .map_or_else(Vec::new, |plan| plan.windows.iter().map(Window::from).collect()),
            refusals: refused.iter().map(Refused::from).collect(),
        }
    }
}

impl From<&ringfence_plan::Entry> for Entry {
    fn from(entry: &ringfence_plan::Entry) -> Self {
        let (first, last) = ends(&entry.span);
        let reason = entry.reason.clone();
        Self { first, last, usage: entry.usage.name(), backed: entry.backed, reason }
    }
}

impl From<&Settlement> for Region {
    fn from(settlement: &Settlement) -> Self {
        let (first, last) = ends(&settlement.span);
        Self {
            first,
            last,
            kind: settlement.kind.to_string(),
            cases: settlement.cases.iter().map(ToString::to_string).collect(),
            policy: settlement.policy.name(),
            becomes: settlement.becomes.name(),
            reason: settlement.reason.clone(),
        }
    }
}

impl From<&ringfence_plan::Risk> for Risk {
    fn from(risk: &ringfence_plan::Risk) -> Self {
        Self { case: risk.case.to_string(), sentence: risk.text.clone() }
    }
}

impl From<&ringfence_plan::Settings> for Settings {
    fn from(settings: &ringfence_plan::Settings) -> Self {
        Self {
            memory_bytes: settings.memory_bytes,
            low_bytes: settings.low_bytes,
            high_first: settings.high_first.to_string(),
            address_bits: settings.address_bits,
            amd_vcpu: settings.amd_vcpu,
            stolen_bytes: settings.stolen_bytes,
        }
    }
}

impl From<&ringfence_plan::GuestIommu> for Viommu {
    fn from(told: &ringfence_plan::GuestIommu) -> Self {
        let region = |region: &ringfence_plan::GuestRegion| {
            let (first, last) = ends(&region.span);
            let devices = region.devices.iter().map(ToString::to_string).collect();
            Told { first, last, devices }
        };
        Self { kind: told.kind.name(), regions: told.regions.iter().map(region).collect() }
    }
}

impl From<&ringfence_plan::PlacedWindow> for Window {
    fn from(window: &ringfence_plan::PlacedWindow) -> Self {
        let (first, last) = ends(&window.span);
        Self { name: window.name.clone(), first, last, device: window.guest.to_string() }
    }
}

impl From<&Refusal> for Refused {
    fn from(refusal: &Refusal) -> Self {
        Self {
            code: refusal.code().to_string(),
            name: refusal.code().name,
            detail: refusal.detail().to_owned(),
            remedy: refusal.remedy(),
        }
    }
}
