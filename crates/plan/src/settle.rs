//! One area under one layout: what becomes of it, or why that cannot be.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ringfence_addr::{Alignment, Gpa, Span};
use ringfence_host::RegionKind;
use ringfence_refusal::{Code, Refusal};

use crate::area::Area;
use crate::case::Case;
use crate::layout::{Layout, bytes};
use crate::machine::{HIGH_FIRST, HYPERTRANSPORT_FIRST, LEGACY_END, Machine, fixed};
use crate::map::{Risk, Settlement, Use};
use crate::refusals;
use crate::request::Policy;

/// What is to be decided, and what it costs.
pub(crate) struct Settled {
    pub(crate) settlement: Settlement,
    /// Memory of its own is needed there, beside the layout's.
    pub(crate) own_block: bool,
    pub(crate) risks: Vec<Risk>,
    pub(crate) refusal: Option<Refusal>,
}

/// How `span` lies to memory as the machine places it by itself.
pub(crate) fn case(span: &Span<Gpa>, own: &Layout, machine: Machine, limit: Span<Gpa>) -> Case {
    let first = span.first().get();
    let in_memory = own.overlaps(span);
    if first < LEGACY_END {
        Case::D
    } else if span.first() > limit.last() {
        Case::G
    } else if in_memory && (HYPERTRANSPORT_FIRST..1 << 40).contains(&first) {
        Case::N
    } else if in_memory && span.last().get() >= HIGH_FIRST && first >= own.low_bytes {
        Case::F
    } else if !in_memory && fixed(machine).any(|(range, _)| range.overlaps(span)) {
        Case::E
    } else if !in_memory {
        Case::C
    } else if span.last().get() < own.low_bytes {
        Case::A
    } else {
        Case::B
    }
}

/// Under which layout and limit something is settled.
#[derive(Clone, Copy)]
pub(crate) struct Under<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) machine: Machine,
    pub(crate) limit: Span<Gpa>,
}

/// What it costs: whether `area` cannot be settled so, and whether it is memory that was to be a hole.
pub(crate) fn cost(area: &Area, case: Case, under: Under<'_>) -> (bool, bool) {
    let settle = Settle::new(area, case, under);
    let missed = settle.inside > 0 && !area.policy.needs_memory() && area.policy != Policy::Reserve;
    match settle.objection() {
        Some(_) => (true, false),
        None => (false, missed),
    }
}

/// What becomes of `area`.
pub(crate) fn settle(area: &Area, case: Case, under: Under<'_>) -> Settled {
    let mut cases: BTreeSet<Case> = area.cases.clone();
    cases.insert(case);
    let settle = Settle::new(area, case, under);
    let mut settled = match settle.refusal() {
        Some(refusal) => settle.refuse(refusal),
        None => settle.allow(),
    };
    let large = Alignment::PAGE_2M;
    if settled.settlement.becomes != Use::Hole && !area.span.is_aligned(large) {
        cases.insert(Case::M);
    }
    cases.extend(settled.risks.iter().map(|risk| risk.case));
    settled.settlement.cases = cases.into_iter().collect();
    settled
}

struct Settle<'a> {
    area: &'a Area,
    case: Case,
    layout: &'a Layout,
    machine: Machine,
    limit: Span<Gpa>,
    /// Bytes of memory that lie in it.
    inside: u64,
    /// Bytes of it.
    whole: u64,
}

impl<'a> Settle<'a> {
    fn new(area: &'a Area, case: Case, under: Under<'a>) -> Self {
        let Under { layout, machine, limit } = under;
        let inside = layout.bytes_in(&area.span);
        Self { area, case, layout, machine, limit, inside, whole: bytes(&area.span) }
    }

    /// Why it cannot be, if it cannot.
    fn objection(&self) -> Option<(&'static Code, Cow<'static, str>)> {
        let (area, machine) = (self.area, self.machine);
        let object = |code: &'static Code, why: &'static str| Some((code, Cow::from(why)));
        if area.kind >= RegionKind::SoftwareMsi && area.policy.needs_memory() {
            return object(&refusals::UNSATISFIABLE, "nothing can be mapped there");
        }
        if area.kind >= RegionKind::SoftwareMsi && self.inside > 0 {
            let hole = self.case == Case::N && !machine.splits();
            let why = if hole {
                "memory would lie in HyperTransport's hole; only for a vCPU of AMD's does QEMU keep it"
            } else {
                "memory would lie there, and the VMM cannot leave it out"
            };
            return object(&refusals::RESERVED_IN_MEMORY, why);
        }
        if matches!(area.policy, Policy::Relocate | Policy::None) && !area.graphics {
            return object(&refusals::NOT_GRAPHICS, "it is no graphics device's own memory");
        }
        if let Some(policy) = area.wishes.iter().find(|policy| !machine.carries(**policy)) {
            let why = format!("it cannot carry out {policy}");
            return Some((&refusals::NOT_EXPRESSIBLE, why.into()));
        }
        if area.policy.needs_memory() {
            if let Some((range, name)) =
                fixed(machine).find(|(range, _)| range.overlaps(&area.span))
            {
                return Some((&refusals::UNSATISFIABLE, format!("{range} is {name}").into()));
            }
            if self.inside != self.whole && !(self.inside == 0 && machine.splits()) {
                let why = format!(
                    "its memory ends at {:#x} below 4 GiB and it cannot place a piece by itself",
                    self.layout.low_bytes
                );
                return Some((&refusals::NOT_EXPRESSIBLE, why.into()));
            }
            if area.span.last() > self.limit.last() {
                return object(&refusals::OUT_OF_REACH, "nothing can be mapped so high");
            }
        }
        None
    }

    fn refusal(&self) -> Option<Refusal> {
        let (code, why) = self.objection()?;
        Some(Refusal::new(code, format!("{} on {}: {why}", self.area.text(), self.machine)))
    }

    fn refuse(&self, refusal: Refusal) -> Settled {
        let settlement = self.settlement(Use::Hole, self.area.policy, "refused".to_owned());
        Settled { settlement, own_block: false, risks: Vec::new(), refusal: Some(refusal) }
    }

    fn allow(&self) -> Settled {
        let own_block = self.inside == 0
            && self.machine.splits()
            && (self.area.policy.needs_memory() || self.may_reserve());
        let (becomes, reason) = match self.area.policy {
            Policy::Identity | Policy::Overlay => (
                Use::Identity,
                "the VM's own memory at the host's address, which is what the device's registers say",
            ),
            Policy::Reserve if self.inside > 0 || own_block => {
                (Use::Reserved, "the VM's memory, told to be kept off")
            }
            _ if self.inside > 0 => {
                (Use::Reserved, "the VM's memory, told to be kept off, where no hole can be left")
            }
            _ => (Use::Hole, self.hole()),
        };
        let reason = format!("{reason}: {}", self.area.text());
        let settlement = self.settlement(becomes, self.area.policy, reason);
        Settled { settlement, own_block, risks: self.risks(becomes), refusal: None }
    }

    /// Whether memory that nobody uses was asked for and can be laid there.
    fn may_reserve(&self) -> bool {
        let area = self.area;
        area.policy == Policy::Reserve
            && area.kind < RegionKind::SoftwareMsi
            && area.span.last() <= self.limit.last()
            && fixed(self.machine).all(|(range, _)| !range.overlaps(&area.span))
    }

    fn hole(&self) -> &'static str {
        match (self.area.kind, self.area.policy) {
            (RegionKind::Relaxable | RegionKind::Direct, Policy::Trapped) => {
                "no memory; accesses end in the VMM"
            }
            (RegionKind::Relaxable | RegionKind::Direct, _) => {
                "no memory of the guest's: what the device still does there faults"
            }
            _ => "nothing may be mapped for devices there",
        }
    }

    fn risks(&self, becomes: Use) -> Vec<Risk> {
        let mut risks = Vec::new();
        let mut risk = |case, text: &str| {
            risks.push(Risk { case, text: format!("{}: {text}", self.area.span) });
        };
        let legacy = self.case == Case::D;
        if becomes == Use::Reserved && legacy {
            risk(
                Case::D,
                "every PC's firmware and kernel keep off it, but the guest's firmware is there",
            );
        }
        if matches!(becomes, Use::Reserved | Use::Identity) && !legacy {
            risk(Case::P, "firmware and boot loader may use it before the guest reads its map");
            if self.machine == Machine::CloudHypervisor {
                risk(
                    Case::R,
                    "told on the kernel's command line only, which the next kernel is not told",
                );
            }
        }
        if self.area.graphics && becomes == Use::Hole && self.area.policy == Policy::Hole {
            risk(
                self.case,
                "the device's registers still name it: what it does there by itself faults in the IOMMU",
            );
        }
        if self.area.graphics && self.area.policy == Policy::Relocate {
            risk(
                self.case,
                "from generation 11 on drivers compare it with registers that only name the host's address",
            );
        }
        risks
    }

    fn settlement(&self, becomes: Use, policy: Policy, reason: String) -> Settlement {
        Settlement {
            span: self.area.span,
            kind: self.area.kind,
            cases: vec![self.case],
            policy,
            asked: self.area.asked,
            becomes,
            reason,
        }
    }
}
