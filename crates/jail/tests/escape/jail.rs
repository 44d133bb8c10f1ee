//! The ground the tests stand on: the sibling, a granted folder, and commands inside and outside.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;
use ringfence_jail::launch::{self, Listener};
use ringfence_jail::{Access, Grant, Profile, Protection, Report, refusals};
use ringfence_refusal::Failure;
use rustix::fs::{Mode, OFlags};

use crate::sibling::{Running, SECRET};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Ground {
    folder: PathBuf,
    own: PathBuf,
    sibling: Running,
    /// Open, and inherited by everything started.
    _careless: OwnedFd,
}

impl Ground {
    pub(crate) fn new() -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("ringfence-escape-{}", std::process::id()));
        let own = folder.with_extension("own");
        for folder in [&folder, &own] {
            let _ = std::fs::remove_dir_all(folder);
            std::fs::create_dir(folder)?;
        }
        std::fs::write(folder.join("secret"), SECRET)?;
        let program = folder.join("program");
        std::fs::write(&program, "#!/bin/sh\nexit 0\n")?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, executable)?;
        // A program that runs as another user, where we may make one.
        let owned = own.join("owned");
        std::fs::copy("/usr/bin/id", &owned)?;
        if std::os::unix::fs::chown(&owned, Some(65533), None).is_ok() {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
            std::fs::set_permissions(&owned, mode)?;
        }
        let sibling = Running::start(&folder)?;
        let careless = rustix::fs::open(folder.join("secret"), OFlags::RDONLY, Mode::empty())?;
        Ok(Self { folder, own, sibling, _careless: careless })
    }

    fn attempt(&self, way: &str) -> Vec<String> {
        let _ = std::fs::write(self.folder.join("deletable"), SECRET);
        let _ = std::fs::remove_file(self.own.join("linked"));
        let sibling = serde_json::to_string(&self.sibling.said).expect("plain data");
        vec!["try".to_owned(), way.to_owned(), sibling]
    }

    /// Whether a way leads out for somebody who is not jailed.
    pub(crate) fn try_outside(&self, way: &str) -> Result<(), String> {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(self.attempt(way))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// Whether it leads out of the jail that backends get.
    pub(crate) fn try_inside_whole(&self, way: &str) -> Result<(), String> {
        self.try_inside(&self.profile(), way)
    }

    /// Whether it leads out of the jail that a fence puts itself into.
    pub(crate) fn try_as_a_fence(&self, way: &str) -> Result<(), String> {
        let mut attempt = self.attempt(way);
        "try-as-a-fence".clone_into(&mut attempt[0]);
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(attempt)
            .stdin(Stdio::null())
            .output()
            .expect("this program can be started");
        match output.status.code() {
            Some(0) => Ok(()),
            Some(1) => Err(String::new()),
            _ => panic!("the attempt itself went wrong: {}", output.status),
        }
    }

    /// Whether it leads out of a jail.
    pub(crate) fn try_inside(&self, profile: &Profile, way: &str) -> Result<(), String> {
        let program = std::env::current_exe().expect("this program");
        let program = program.to_string_lossy();
        let attempt = self.attempt(way);
        let mut words = vec![program.as_ref()];
        words.extend(attempt.iter().map(String::as_str));
        let (status, _) = self.run(profile, &words).expect("it runs");
        // Anything else than the program's own verdict is no verdict.
        match status.code() {
            Some(0) => Ok(()),
            Some(1) => Err(String::new()),
            _ => panic!("the attempt itself went wrong: {status}"),
        }
    }

    pub(crate) fn profile(&self) -> Profile {
        let mut profile = Profile::for_program(false);
        let program = std::env::current_exe().expect("this program");
        profile.grants.push(Grant::new(program, Access::EXECUTE));
        let all = Access { read: true, write: true, execute: true };
        profile.grants.push(Grant::new(&self.own, all));
        profile
    }

    /// Runs a program in a jail to its end.
    pub(crate) fn run(
        &self,
        profile: &Profile,
        words: &[&str],
    ) -> Result<(ExitStatus, Report), Failure> {
        let (mut child, mut listener) = self.start(profile, words);
        let report = listener.report(PATIENCE);
        let status = child.wait().expect("it ends");
        let report = report?;
        Ok((listener.ending().unwrap_or(status), report))
    }

    fn start(&self, profile: &Profile, words: &[&str]) -> (std::process::Child, Listener) {
        let (listener, theirs) = launch::channel().expect("sockets");
        let profile = serde_json::to_string(profile).expect("plain data");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .arg("be-jailed")
            .args(words)
            .env(launch::VARIABLE, profile)
            .stdin(theirs)
            .process_group(0)
            .spawn()
            .expect("this program can be started");
        (child, listener)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for folder in [&self.folder, &self.own] {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

pub(crate) fn become_jailed(program: &str, rest: &[&str]) -> ExitCode {
    let rest: Vec<_> = rest.iter().map(Into::into).collect();
    launch::become_jailed(program.as_ref(), &rest)
}

/// Enters a fence's jail, then tries a way out of it.
pub(crate) fn attempt_as_a_fence(way: &str, sibling: &str) -> ExitCode {
    let own = crate::decode(sibling).own;
    ringfence_jail::close_inherited().expect("a list of descriptors");
    ringfence_jail::enter(&Profile::for_fence([own]).require_all()).expect("the host has it all");
    crate::ways::attempt(way, sibling)
}

/// Starts a jail inside a jail, where no namespace can be made. Success if the rest was made.
pub(crate) fn nested() -> ExitCode {
    let profile = Profile::for_program(false);
    let (mut listener, theirs) = launch::channel().expect("sockets");
    let mut child = Command::new("/proc/self/exe")
        .args(["be-jailed", "/bin/true"])
        .env(launch::VARIABLE, serde_json::to_string(&profile).expect("plain data"))
        .stdin(theirs)
        .spawn()
        .expect("this program can be started");
    let report = listener.report(PATIENCE).expect("a report");
    let status = child.wait().expect("it ends");
    let lacks = report.missing().map(|entry| entry.protection).collect::<Vec<_>>();
    let expected = [
        Protection::UserNamespace,
        Protection::MountNamespace,
        Protection::ProcessNamespace,
        Protection::NetworkNamespace,
        Protection::IpcNamespace,
        Protection::NameNamespace,
    ];
    let only_namespaces = lacks.iter().all(|lacking| expected.contains(lacking));
    let is_said = lacks.contains(&Protection::MountNamespace);
    if status.success() && only_namespaces && is_said {
        return ExitCode::SUCCESS;
    }
    eprintln!("{status}: {report}");
    ExitCode::FAILURE
}

pub(crate) fn a_host_without_namespaces_is_done_without(ground: &Ground) -> Result<(), Failed> {
    let program = std::env::current_exe()?;
    let words =
        [program.to_string_lossy().into_owned(), "try".into(), "nested".into(), "{}".into()];
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (status, _) = ground.run(&ground.profile(), &words)?;
    check(status.code() == Some(0), "what could be had was not had, or what could not was not said")
}

fn check(condition: bool, otherwise: &str) -> Result<(), Failed> {
    if condition { Ok(()) } else { Err(otherwise.into()) }
}

/// The jail is no use if nothing can be done in it.
pub(crate) fn what_is_granted_can_be_used(ground: &Ground) -> Result<(), Failed> {
    let own = ground.own.to_string_lossy();
    let script = format!(
        "set -e; echo written > {own}/file; grep -q written {own}/file; rm {own}/file; \
         echo x > /tmp/t; echo x > /dev/shm/t; echo x > /dev/null; cd {own}; id > id; \
         ls /proc/self > /dev/null; perl -e 'exit 0'; \
         grep -q 'SigBlk:.0000000000000000' /proc/self/status"
    );
    let (status, _) = ground.run(&ground.profile(), &["/bin/sh", "-c", &script])?;
    check(status.success(), &format!("{status}"))
}

pub(crate) fn what_ends_the_program_is_passed_on(ground: &Ground) -> Result<(), Failed> {
    use std::os::unix::process::ExitStatusExt;
    let (status, _) = ground.run(&ground.profile(), &["/bin/sh", "-c", "exit 3"])?;
    check(status.code() == Some(3), &format!("{status}"))?;
    let (status, _) = ground.run(&ground.profile(), &["/bin/sh", "-c", "kill -9 $$"])?;
    check(status.signal() == Some(9), &format!("{status}"))
}

/// Not even what hides from its group, its session and its parent.
pub(crate) fn nothing_outlives_the_program(ground: &Ground) -> Result<(), Failed> {
    let mark = format!("ringfence-outlives-{}", std::process::id());
    let script = format!("setsid sh -c 'sleep 1000; : {mark}' & sleep 0.2; exit 0");
    let (status, report) = ground.run(&ground.profile(), &["/bin/sh", "-c", &script])?;
    check(status.success(), &format!("{status}"))?;
    if !report.holds(Protection::ProcessNamespace) {
        return Err("this host has no process namespaces, so this cannot be shown".into());
    }
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        check(!line.contains(&mark), &format!("still there: {line}"))?;
    }
    Ok(())
}

pub(crate) fn what_is_required_and_missing_is_refused(ground: &Ground) -> Result<(), Failed> {
    let refused = |profile: &Profile| match ground.run(profile, &["/bin/true"]) {
        Err(Failure::Refused(refusal)) => Ok(refusal),
        other => Err(Failed::from(format!("{other:?}"))),
    };
    let mut profile = ground.profile();
    profile.grants.push(Grant::new(ground.folder.join("not-there"), Access::READ));
    let refusal = refused(&profile)?;
    check(refusal.code() == &refusals::GRANT_NOT_THERE, &refusal.to_string())?;
    check(refusal.detail().ends_with("/not-there"), refusal.detail())?;
    // A jail inside a jail can have no namespaces, so requiring them refuses it.
    let program = std::env::current_exe()?;
    let words =
        [program.to_string_lossy().into_owned(), "try".into(), "require".into(), "{}".into()];
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (status, _) = ground.run(&ground.profile(), &words)?;
    check(status.success(), "a jail without what was required was entered")?;
    let profile = ground.profile().require_all();
    let (status, report) = ground.run(&profile, &["/bin/true"])?;
    check(status.success() && report.missing().next().is_none(), &report.to_string())
}

/// Who looks from inside sees the same as who made it.
pub(crate) fn a_jailed_program_finds_its_jail(ground: &Ground) -> Result<(), Failed> {
    let program = std::env::current_exe()?;
    let program = program.to_string_lossy();
    let words = [program.as_ref(), "try", "verify", "{}"];
    let (status, _) = ground.run(&ground.profile(), &words)?;
    check(status.code() == Some(0), "something that was made is not seen")?;
    let outside = Command::new(program.as_ref()).args(&words[1..]).status()?;
    check(outside.code() == Some(1), "something is seen that was not made")
}

/// What stays open where the host gives no namespaces: ways that show what is there, or reach what
/// no other protection knows of.
const ONLY_NAMESPACES_CLOSE: &[&str] = &[
    "see that a file is there",
    "change a file's mode",
    "read shared memory of System V",
    "ask by UDP",
    "connect to a socket by its path",
    "see who listens on the host",
    "see a process",
    "slow a process down",
    "place a process",
];

/// Each protection holds by itself what it can hold.
pub(crate) fn without_namespaces_the_rest_holds(ground: &Ground) -> Result<(), Failed> {
    let mut profile = ground.profile();
    profile.wanted.retain(|protection| !protection.name().ends_with("-namespace"));
    let open: Vec<_> = crate::ways::all()
        .filter(|way| !ONLY_NAMESPACES_CLOSE.contains(way))
        .filter(|way| ground.try_inside(&profile, way).is_ok())
        .collect();
    check(open.is_empty(), &format!("{open:?}"))
}
