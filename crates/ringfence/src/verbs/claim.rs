//! `claim`: take whole groups of functions, all or nothing. `release`: give them back.
//!
//! What is taken are the kernel's groups of the functions named, since it gives out no less; with
//! `--model` also what that model puts together with them. What the strict model would add is said.

use ringfence_addr::PciAddress;
use ringfence_device::persist::{self, Persisted};
use ringfence_device::{
    Claim, Examination, HostWriter, Manager, RUN_FOLDER, Recovered, Root, Store, breaches,
    closed_groups, examine, observed_groups,
};
use ringfence_host::{Model, Policy};
use serde::Serialize;

use crate::exit::Exit;
use crate::{cli, host_source, talk};

const SCHEMA: &str = "ringfence.claims/1";

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    schema: &'static str,
    claims: &'a [Told],
}

/// A claim as it is told.
#[derive(Serialize)]
struct Told {
    name: String,
    functions: Vec<ToldFunction>,
    steps: Vec<String>,
    breaches: Vec<String>,
    refusals: Vec<String>,
}

#[derive(Serialize)]
struct ToldFunction {
    address: String,
    place: String,
    driver_before: Option<String>,
    driver: Option<String>,
}

impl Told {
    fn new(claim: &Claim, breaches: Vec<String>, refusals: Vec<String>) -> Self {
        let plan = &claim.plan;
        let functions = plan.members.iter().map(|member| ToldFunction {
            address: member.address.to_string(),
            place: member.place.to_string(),
            driver_before: member.driver.clone(),
            driver: plan.driver_after(member).map(str::to_string),
        });
        Self {
            name: claim.name.clone(),
            functions: functions.collect(),
            steps: plan.steps.iter().map(ToString::to_string).collect(),
            breaches,
            refusals,
        }
    }

    /// One function a line.
    fn lines(&self) -> String {
        let name = |driver: &Option<String>| driver.clone().unwrap_or("no driver".to_string());
        let line = |function: &ToldFunction| {
            let ToldFunction { address, driver, driver_before, .. } = function;
            let now = name(driver);
            if driver == driver_before {
                format!("{address}  {now}, as before\n")
            } else {
                format!("{address}  {now}, before {}\n", name(driver_before))
            }
        };
        self.functions.iter().map(line).collect()
    }
}

pub(crate) fn run(arguments: &cli::Claim) -> anyhow::Result<Exit> {
    let root = Root::default();
    let writer = HostWriter::default();
    let manager = Manager::new(root.clone(), &writer, Store::new(RUN_FOLDER));
    if let Some(function) = arguments.at_boot {
        manager.keep_at_boot(function)?;
        return Ok(Exit::Ok);
    }
    if arguments.recover {
        return recover(&manager);
    }
    if arguments.persisted {
        return claim_persisted(&manager);
    }
    if arguments.functions.is_empty() {
        return list(&manager, arguments.json);
    }
    let functions = groups_of(&root, &arguments.functions, arguments.model)?;
    if arguments.dry_run {
        return rehearse(&root, &functions, arguments.json);
    }
    let claim = manager.claim(&functions)?;
    if arguments.persist {
        let files = persist::boot_files(&own_program()?, &[&Persisted::of(&claim)]);
        persist::install(&root, &files)?;
        for file in files {
            talk::say(format_args!("wrote /{}", file.path));
        }
        talk::say("next: systemctl enable ringfence-claims; update-initramfs -u");
    }
    show(&[Told::new(&claim, Vec::new(), Vec::new())], arguments.json)?;
    Ok(Exit::Ok)
}

/// Everything that must be taken with `named`.
fn groups_of(
    root: &Root,
    named: &[PciAddress],
    model: Option<Model>,
) -> anyhow::Result<Vec<PciAddress>> {
    let observed = observed_groups(root, named)?;
    let host = host_source::host(None, false)?;
    if let Some(model) = model {
        return Ok(closed_groups(root, &model.partition(&host), named)?);
    }
    // The claim is good either way; what the kernel overlooks is the operator's to weigh.
    let strict = Model::Strict(Policy::default()).partition(&host);
    if let Ok(more) = closed_groups(root, &strict, named) {
        let more: Vec<_> = more.iter().filter(|function| !observed.contains(function)).collect();
        if let (Some(first), Some(taken)) = (more.first(), observed.first()) {
            talk::say(format_args!(
                "note: the strict model puts {} more with them, {first} for one: see `ringfence why \
                 {taken} {first} --model strict`; `--model strict` takes them too",
                more.len()
            ));
        }
    }
    Ok(observed)
}

pub(crate) fn release(arguments: &cli::Release) -> anyhow::Result<Exit> {
    let root = Root::default();
    let writer = HostWriter::default();
    let manager = Manager::new(root.clone(), &writer, Store::new(RUN_FOLDER));
    let mut released: Vec<Claim> = Vec::new();
    for function in &arguments.functions {
        // Two functions of one claim are one claim.
        if released.iter().any(|claim| claim.plan.member(*function).is_some()) {
            continue;
        }
        let claim = manager.release(*function)?;
        if arguments.persist {
            persist::forget(&root, &claim.name)?;
        }
        talk::say(format_args!("released {}", claim.name));
        released.push(claim);
    }
    Ok(Exit::Ok)
}

fn show(claims: &[Told], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return talk::json(&Answer { schema: SCHEMA, claims });
    }
    for told in claims {
        talk::data(&told.lines())?;
        for breach in &told.breaches {
            talk::say(format_args!("claim {}: {breach}", told.name));
        }
    }
    Ok(())
}

/// The claims that stand. Ends with 1 if anything is not as it was claimed.
fn list(manager: &Manager<'_>, as_json: bool) -> anyhow::Result<Exit> {
    let mut all = Vec::new();
    for claim in manager.claims()? {
        let found = breaches(manager.root(), &claim.plan)?;
        let found = found.iter().map(ToString::to_string).collect();
        all.push(Told::new(&claim, found, Vec::new()));
    }
    if all.is_empty() && !as_json {
        talk::say("nothing is claimed");
    }
    show(&all, as_json)?;
    let is_whole = all.iter().all(|told| told.breaches.is_empty());
    Ok(if is_whole { Exit::Ok } else { Exit::No })
}

/// What would be done. Ends with 1 if anything speaks against it.
fn rehearse(root: &Root, functions: &[PciAddress], as_json: bool) -> anyhow::Result<Exit> {
    let Examination { plan, refusals } = examine(root, functions)?;
    let refused = refusals.iter().map(ToString::to_string).collect();
    let told = Told::new(&Claim { name: String::new(), plan }, Vec::new(), refused);
    if as_json {
        show(std::slice::from_ref(&told), true)?;
    } else {
        talk::data(&told.steps.iter().map(|step| format!("{step}\n")).collect::<String>())?;
    }
    for refusal in &refusals {
        talk::say(format_args!("{refusal}\n  next: {}", refusal.remedy()));
    }
    Ok(if refusals.is_empty() { Exit::Ok } else { Exit::No })
}

/// Ends with 1 if something could not be undone.
fn recover(manager: &Manager<'_>) -> anyhow::Result<Exit> {
    let mut exit = Exit::Ok;
    for recovered in manager.recover()? {
        match recovered {
            Recovered::Stands(claim) => talk::say(format_args!("{} stands", claim.name)),
            Recovered::Undone(claim) => {
                talk::say(format_args!("{} was interrupted and is undone", claim.name));
            }
            Recovered::Forgotten(name) => {
                talk::say(format_args!("{name} was of an earlier boot and is forgotten"));
            }
            Recovered::InWork(name) => talk::say(format_args!("{name} is in work")),
            Recovered::Failed(name, failure) => {
                talk::say(format_args!("{name}: {failure}"));
                exit = Exit::No;
            }
        }
    }
    Ok(exit)
}

/// Makes the persisted claims that do not stand yet; one that is refused does not keep the others.
fn claim_persisted(manager: &Manager<'_>) -> anyhow::Result<Exit> {
    let standing: Vec<_> = manager.claims()?.into_iter().map(|claim| claim.name).collect();
    let mut exit = Exit::Ok;
    for (name, persisted) in persist::persisted(manager.root())? {
        if standing.contains(&name) {
            continue;
        }
        match manager.claim_persisted(&persisted) {
            Ok(claim) => talk::data(&Told::new(&claim, Vec::new(), Vec::new()).lines())?,
            Err(failure) => {
                talk::say(format_args!("{name}: {failure}"));
                exit = Exit::No;
            }
        }
    }
    Ok(exit)
}

/// Where this program is, for those who start it at boot.
fn own_program() -> anyhow::Result<String> {
    Ok(std::env::current_exe()?.display().to_string())
}
