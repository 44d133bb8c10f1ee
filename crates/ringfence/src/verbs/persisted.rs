//! Claims for every boot: `claim --persist` and `release --persist`, and what a boot makes of them.

use ringfence_addr::PciAddress;
use ringfence_device::persist::{self, BootFile, Generator, Persisted};
use ringfence_device::{Claim, ClaimPlan, Manager, Root, Strength, survey};
use ringfence_refusal::Failure;

use crate::claims::{ClaimState, Claims, Told};
use crate::exit::Exit;
use crate::talk;

/// Claims `functions` and has them claimed at every boot, or neither. A claim of just these that
/// stands already is persisted as it is, or locked another way if that was asked for.
pub(crate) fn claim(
    root: &Root,
    claims: &Claims,
    functions: &[PciAddress],
    strength: Option<Strength>,
) -> anyhow::Result<ClaimState> {
    let generators = Generator::installed(root);
    let program = own_program()?;
    let files = |plan: &ClaimPlan| persist::boot_files(&program, &generators, &Persisted::of(plan));
    // What can be known to stand in the way is found before anything is done.
    let expected = ClaimPlan::new(survey(root, functions)?);
    persist::expect_ours(root, &files(&expected)?)?;
    let is_it = |state: &ClaimState| {
        state.claim.plan.members.iter().map(|member| &member.address).eq(functions)
    };
    let standing = claims.list()?.into_iter().find(is_it);
    let is_new = standing.is_none();
    let state = match (standing, strength, functions) {
        (Some(_), Some(strength), [first, ..]) => claims.lock(*first, strength)?,
        (Some(state), ..) => state,
        (None, ..) => claims.claim(functions, strength.unwrap_or_default())?,
    };
    let files = files(&state.claim.plan)?;
    if let Err(failure) = install(root, &state.claim, &files) {
        if let ([first, ..], true) = (functions, is_new) {
            talk::say("the claim is given back, since it cannot be persisted");
            claims.release(*first)?;
        }
        return Err(failure.into());
    }
    for file in files {
        talk::say(format_args!("wrote /{}", file.path));
    }
    if generators.is_empty() {
        talk::say(
            "note: nothing known makes this host's initramfs; drivers loaded there come before the claim",
        );
    }
    say_next("systemctl enable ringfence-claims", &generators);
    Ok(state)
}

/// Writes the files, and forgets the persisted claims that were of any of the same functions.
fn install(root: &Root, claim: &Claim, files: &[BootFile]) -> Result<(), Failure> {
    persist::install(root, files)?;
    let places: Vec<_> = claim.plan.members.iter().map(|member| &member.place).collect();
    for (name, other) in persist::persisted(root)? {
        if name != claim.name && other.is_ok_and(|other| other.has_any_of(&places)) {
            persist::forget(root, &name)?;
            talk::say(format_args!("forgot {name}, which was of the same functions"));
        }
    }
    Ok(())
}

/// The persisted claim that `function` is in now, by name.
pub(crate) fn of(root: &Root, function: PciAddress) -> anyhow::Result<Option<String>> {
    Ok(persist::name_at(root, function)?)
}

/// Has the claim made no more at boot, and says so.
pub(crate) fn forget(root: &Root, name: &str) -> anyhow::Result<()> {
    let removed = persist::forget(root, name)?;
    for path in &removed {
        talk::say(format_args!("removed /{path}"));
    }
    if removed.len() > 1 {
        // The unit is gone, and with it what `disable` would go by.
        talk::say("next: rm -f /etc/systemd/system/*/ringfence-claims.service");
    }
    if !removed.is_empty() {
        say_next("systemctl daemon-reload", &Generator::installed(root));
    }
    Ok(())
}

fn say_next(first: &str, generators: &[Generator]) {
    let commands = generators.iter().map(|generator| generator.command());
    let all: Vec<_> = std::iter::once(first).chain(commands).collect();
    talk::say(format_args!("next: {}", all.join("; ")));
}

/// Makes the persisted claims that do not stand yet; one that is refused does not keep the others.
pub(crate) fn make_all(manager: &Manager<'_>) -> anyhow::Result<Exit> {
    let standing: Vec<_> = manager.claims()?.into_iter().map(|claim| claim.name).collect();
    let mut exit = Exit::Ok;
    for (name, persisted) in persist::persisted(manager.root())? {
        if standing.contains(&name) {
            continue;
        }
        let made = persisted.map_err(Failure::from);
        match made.and_then(|persisted| manager.claim_persisted(&persisted)) {
            Ok(claim) => {
                talk::data(&Told::from(&ClaimState::alone(claim, Vec::new())).lines())?;
            }
            Err(failure) => {
                let error = anyhow::Error::from(failure);
                talk::complain(&error.context(format!("persisted claim {name}")));
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
