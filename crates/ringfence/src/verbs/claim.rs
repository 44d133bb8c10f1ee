//! `claim`: take whole groups of functions, all or nothing. `release`: give them back.
//!
//! What is taken are the kernel's groups of the functions named, since it gives out no less; with
//! `--model` also what that model puts together with them. What the strict model would add is said.

use ringfence_addr::PciAddress;
use ringfence_device::{
    Examination, HostWriter, Manager, Recovered, Root, Strength, closed_groups, examine,
    observed_groups, refusals,
};
use ringfence_host::{Model, Policy};
use ringfence_refusal::{Failure, Refusal};

use super::persisted;
use crate::claims::{Answer, ClaimState, Claims, SCHEMA, TheirLock, Told, store};
use crate::exit::Exit;
use crate::scrubbing::{self, Extent};
use crate::{cli, host_source, talk};

pub(crate) fn run(arguments: &cli::Claim) -> anyhow::Result<Exit> {
    let root = arguments.at.root();
    let writer = HostWriter::default();
    let manager = Manager::new(root.clone(), &writer, store(&root));
    if arguments.at_boot {
        manager.keep_at_boot()?;
        return Ok(Exit::Ok);
    }
    if arguments.recover {
        return recover(&manager);
    }
    if arguments.persisted {
        return persisted::make_all(&manager);
    }
    let claims = Claims::of(&root)?;
    if arguments.functions.is_empty() {
        return list(&claims, arguments.json);
    }
    if let Some(strength) = arguments.strength()
        && !arguments.dry_run
        && !arguments.persist
        && let Some(states) = relock(&claims, &arguments.functions, strength)?
    {
        show_new(&states, arguments.json)?;
        return Ok(Exit::Ok);
    }
    let functions = groups_of(&root, &arguments.functions, arguments.model)?;
    let strength = arguments.strength().unwrap_or_default();
    if arguments.dry_run {
        return rehearse(&root, &functions, strength, arguments.json);
    }
    let state = match arguments.persist {
        true => persisted::claim(&root, &claims, &functions, arguments.strength())?,
        false => claims.claim(&functions, strength)?,
    };
    if arguments.scrub {
        scrub_or_release(&root, &claims, &functions)?;
    } else {
        say_what_stays(&root, &functions)?;
    }
    show_new(&[state], arguments.json)?;
    Ok(Exit::Ok)
}

/// Clears what firmware took for the functions that were just claimed, or gives them back.
fn scrub_or_release(root: &Root, claims: &Claims, functions: &[PciAddress]) -> anyhow::Result<()> {
    for function in scrubbing::of_host(&host_source::host_at(root)?, functions) {
        if let Err(error) = super::scrub::clear(claims, function, Extent::Clear) {
            let released = claims.release(function).map(|state| state.claim.name);
            return Err(error.context(match released {
                Ok(name) => format!("{name} was released again"),
                Err(why) => format!("and it is still claimed: {why:#}"),
            }));
        }
    }
    Ok(())
}

/// Says which functions keep what their last VM left.
fn say_what_stays(root: &Root, functions: &[PciAddress]) -> anyhow::Result<()> {
    for function in scrubbing::of_host(&host_source::host_at(root)?, functions) {
        talk::say(format_args!(
            "note: {function} has memory of its own in which stays what its last VM left: `ringfence scrub \
             {function}` clears it"
        ));
    }
    Ok(())
}

/// Has claims that stand locked another way; `None` if any of the functions is in none.
fn relock(
    claims: &Claims,
    functions: &[PciAddress],
    strength: Strength,
) -> anyhow::Result<Option<Vec<ClaimState>>> {
    let standing = claims.list()?;
    let is_claimed = |function: &PciAddress| {
        standing.iter().any(|state| state.claim.plan.member(*function).is_some())
    };
    if !functions.iter().all(is_claimed) {
        return Ok(None);
    }
    let mut done: Vec<ClaimState> = Vec::new();
    for function in functions {
        // Two functions of one claim are one claim.
        if !done.iter().any(|state| state.claim.plan.member(*function).is_some()) {
            done.push(claims.lock(*function, strength)?);
        }
    }
    Ok(Some(done))
}

/// Everything that must be taken with `named`.
fn groups_of(
    root: &Root,
    named: &[PciAddress],
    model: Option<Model>,
) -> anyhow::Result<Vec<PciAddress>> {
    let observed = observed_groups(root, named)?;
    let host = host_source::host_at(root)?;
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
    let root = arguments.at.root();
    let claims = Claims::of(&root)?;
    let mut released: Vec<ClaimState> = Vec::new();
    for function in &arguments.functions {
        // Two functions of one claim are one claim.
        if released.iter().any(|state| state.claim.plan.member(*function).is_some()) {
            continue;
        }
        if arguments.scrub {
            scrub_claim_of(&root, &claims, *function)?;
        }
        // Looked up first: what is released may be gone.
        let persisted = persisted::of(&root, *function)?;
        match (claims.release(*function), &persisted) {
            (Ok(state), _) => {
                talk::say(format_args!("released {}", state.claim.name));
                released.push(state);
            }
            (Err(error), Some(_)) if arguments.persist && is_not_claimed(&error) => {}
            (Err(error), _) => return Err(error),
        }
        match persisted {
            Some(name) if arguments.persist => persisted::forget(&root, &name)?,
            Some(name) => talk::say(format_args!(
                "note: {name} is persisted and will be claimed at the next boot; `ringfence release \
                 --persist {function}` ends that too"
            )),
            None => {}
        }
    }
    Ok(Exit::Ok)
}

/// Clears what firmware took for any function of the claim that `function` is in.
fn scrub_claim_of(root: &Root, claims: &Claims, function: PciAddress) -> anyhow::Result<()> {
    let standing = claims.list()?;
    let found = standing.iter().find(|state| state.claim.plan.member(function).is_some());
    let Some(state) = found else { return Ok(()) };
    let members: Vec<_> = state.claim.plan.members.iter().map(|member| member.address).collect();
    for function in scrubbing::of_host(&host_source::host_at(root)?, &members) {
        super::scrub::clear(claims, function, Extent::Clear)?;
    }
    Ok(())
}

/// Whether there is nothing to release: a persisted claim may have been refused at boot.
fn is_not_claimed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let refusal = match cause.downcast_ref::<Failure>() {
            Some(Failure::Refused(refusal)) => Some(refusal),
            _ => cause.downcast_ref::<Refusal>(),
        };
        refusal.is_some_and(|refusal| refusal.code() == &refusals::NOT_CLAIMED)
    })
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

/// Claims that were just made, or are just locked another way.
fn show_new(states: &[ClaimState], as_json: bool) -> anyhow::Result<()> {
    let told: Vec<Told> = states.iter().map(Told::from).collect();
    show(&told, as_json)?;
    for Told { name, lock, .. } in &told {
        talk::say(format_args!("claim {name}: {}: {}", lock.words(), lock.meaning()));
    }
    Ok(())
}

/// The claims that stand. Ends with 1 if anything is not as it was claimed.
fn list(claims: &Claims, as_json: bool) -> anyhow::Result<Exit> {
    let all: Vec<Told> = claims.list()?.iter().map(Told::from).collect();
    if all.is_empty() && !as_json {
        talk::say("nothing is claimed");
    }
    show(&all, as_json)?;
    let is_whole = all.iter().all(|told| told.breaches.is_empty());
    Ok(if is_whole { Exit::Ok } else { Exit::No })
}

/// What would be done. Ends with 1 if anything speaks against it.
fn rehearse(
    root: &Root,
    functions: &[PciAddress],
    strength: Strength,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let Examination { plan, refusals } = examine(root, functions)?;
    let refused = refusals.iter().map(ToString::to_string).collect();
    let told = Told::planned(&plan, TheirLock::none(strength), refused);
    let told = told.assessed(&host_source::host_at(root)?);
    if as_json {
        show(std::slice::from_ref(&told), true)?;
    } else {
        talk::data(&told.steps.iter().map(|step| format!("{step}\n")).collect::<String>())?;
        let functions = told.functions.iter().map(|function| function.address.as_str());
        let together: Vec<&str> = functions.collect();
        talk::data(&format!("\nisolated together: {}\n", together.join(" ")))?;
        talk::data(&talk::printable_lines(&told.assessment_lines()))?;
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
            Recovered::InWork(name) => talk::say(format_args!("{name} is in work, or held")),
            Recovered::Failed(name, failure) => {
                talk::say(format_args!("{name}: {failure}"));
                exit = Exit::No;
            }
        }
    }
    Ok(exit)
}
