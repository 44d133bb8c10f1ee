//! What stands between a function and a VM, and what is reset with it: as `why` and `claim --dry-run`
//! show it beside what it is isolated with.

use ringfence_addr::PciAddress;
use ringfence_device::{ResetSet, Viability, reset_set, viability};
use ringfence_host::{Host, Topology};
use serde::Serialize;

/// One function, assessed.
#[derive(Serialize)]
pub(crate) struct Assessment {
    viability: ToldViability,
    reset: ToldReset,
    #[serde(skip)]
    function: PciAddress,
}

#[derive(Serialize)]
struct ToldViability {
    /// None if what would decide it was not read.
    viable: Option<bool>,
    kernel_group: Option<u32>,
    served_by: Option<String>,
    blockers: Vec<ToldBlocker>,
    unknown: Vec<String>,
    direct_regions: Vec<String>,
    remedies: Vec<String>,
}

#[derive(Serialize)]
struct ToldBlocker {
    function: String,
    driver: String,
}

#[derive(Serialize)]
struct ToldReset {
    /// None if it was not read.
    alone_by: Option<Vec<String>>,
    together: Vec<String>,
}

impl Assessment {
    /// That of the function at `address`, if the host has one there.
    pub(crate) fn of(host: &Host, topology: &Topology<'_>, address: PciAddress) -> Option<Self> {
        let viability = viability(host, address)?;
        let reset = reset_set(host, topology, address)?;
        Some(Self { viability: told(&viability), reset: told_reset(&reset), function: address })
    }

    /// For people, two lines or three.
    pub(crate) fn lines(&self) -> String {
        format!("{}{}", self.viability_lines(), self.reset_line())
    }

    fn viability_lines(&self) -> String {
        let ToldViability { viable, kernel_group, served_by, blockers, unknown, .. } =
            &self.viability;
        let mut reasons: Vec<String> = blockers
            .iter()
            .map(|one| format!("{} is bound to {}", one.function, one.driver))
            .collect();
        if *viable == Some(false) && kernel_group.is_none() {
            reasons.push("the kernel has put it in no group".to_owned());
        } else if *viable == Some(false) && served_by.is_none() && blockers.is_empty() {
            reasons.push("it is bound to no driver of VFIO's".to_owned());
        }
        let regions = self.viability.direct_regions.iter();
        reasons.extend(regions.map(|region| format!("firmware wants {region} mapped for it")));
        let verdict = match viable {
            Some(true) => "a VM can have it as things are".to_owned(),
            Some(false) => format!("no VM can have it now: {}", reasons.join("; ")),
            None if unknown.is_empty() => "whether a VM can have it was not read".to_owned(),
            None => format!(
                "whether a VM can have it is not known: the drivers of {} were not read",
                unknown.join(" ")
            ),
        };
        let remedies = self.viability.remedies.iter();
        let remedies: String = remedies.map(|remedy| format!("  {remedy}\n")).collect();
        format!("{}: {verdict}\n{remedies}", self.function)
    }

    fn reset_line(&self) -> String {
        let ToldReset { alone_by, together } = &self.reset;
        let own = self.function.to_string();
        let others: Vec<&str> =
            together.iter().filter(|one| **one != own).map(String::as_str).collect();
        let with = match others.is_empty() {
            true => "no other function".to_owned(),
            false => others.join(" "),
        };
        match alone_by.as_deref() {
            Some([]) => format!("{own}: cannot be reset alone; reset with {with}\n"),
            Some(ways) => {
                let ways = ways.join(", ");
                format!("{own}: is reset alone ({ways}); by its bus it is reset with {with}\n")
            }
            None => format!(
                "{own}: whether it can be reset alone was not read; by its bus with {with}\n"
            ),
        }
    }
}

fn told(viability: &Viability) -> ToldViability {
    let blocker = |one: &ringfence_device::Blocker| ToldBlocker {
        function: one.function.to_string(),
        driver: one.driver.clone(),
    };
    ToldViability {
        viable: viability.is_viable(),
        kernel_group: viability.group.known().copied().flatten(),
        served_by: viability.served_by.known().cloned().flatten(),
        blockers: viability.blockers.iter().map(blocker).collect(),
        unknown: viability.unknown.iter().map(ToString::to_string).collect(),
        direct_regions: viability.direct_regions.clone(),
        remedies: viability.remedies(),
    }
}

fn told_reset(reset: &ResetSet) -> ToldReset {
    ToldReset {
        alone_by: reset.alone_by.known().cloned(),
        together: reset.together.iter().map(ToString::to_string).collect(),
    }
}
