//! Holders and owners that are killed: what they had or gave is out of every device when it is noticed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use ringfence_iommu::{Journal, Type1};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::owned::Owned;
use crate::pins::{locked_kib, pinned};
use crate::told::{bus, failed, refused};
use crate::world::{World, account, type1, wish};
use crate::writer::Writer;

const PAGES: u64 = 16;

pub(crate) fn run() -> Result<(), String> {
    let before = pinned()?;
    let mut owner_process = Process::start()?;
    let mut holder_process = Process::start()?;
    let owned = Owned::of(owner_process.memory()?, PAGES)?;
    let writer = Writer::open()?;
    let journal = Journal::new(64).map_err(failed)?;
    let container = || -> Result<Type1, String> {
        let mut type1 = type1(writer.function.container_again()?)?;
        type1.set_switch(Box::new(writer.function.clone()));
        Ok(type1)
    };
    let (account, owner, holder) = account(journal, &owned, container()?)?;
    let domain = crate::shared::Shared::new(type1(writer.function.container_again()?)?);
    let mut world = World { account, owner, holder, owned, writer: writer.clone(), domain };
    let say = |what: &str, world: &World| -> Result<(), String> {
        let found = world.account.journal().found().map_err(|fault| fault.to_string())?;
        println!(
            "{what}: reached {} {}, pinned {}, locked {} KiB, in the journal {}, in the books {}",
            world.reaches(0x100)?,
            world.reaches(0x20f)?,
            pinned()? - before,
            locked_kib()?,
            found.mappings.len(),
            world.account.ledger().entries().count()
        );
        Ok(())
    };
    let both = |owner| [wish(owner, 0, 4, 0x100), wish(owner, 0, PAGES, 0x200)];
    map_both(&mut world, &both(owner))?;
    say("mapped", &world)?;
    holder_process.kill()?;
    world.account.holder_died(holder).map_err(refused)?;
    say("its holder killed", &world)?;
    let again = world.account.add_holder(owner, "another", Some(Box::new(container()?)));
    world.holder = again.map_err(refused)?;
    let all = crate::told::gpa(0, PAGES);
    let rights = ringfence_addr::Rights::READ_WRITE;
    world.account.allow(owner, world.holder, all, rights, None).map_err(refused)?;
    ringfence_iommu::Switch::on(&mut world.writer.function).map_err(failed)?;
    map_both(&mut world, &both(owner))?;
    say("another holder", &world)?;
    owner_process.kill()?;
    world.account.owner_died(owner).map_err(refused)?;
    say("its owner killed", &world)?;
    let stale = world.map(&[wish(owner, 0, 1, 0x100)]).remove(0);
    println!("mapping memory of the dead: {}", crate::told::code(stale));
    let none = world.unmap_one(ringfence_ledger::Which::At(bus(0x100, 4)));
    println!("unmapping it: {}", crate::told::code(none));
    Ok(())
}

fn map_both(world: &mut World, wishes: &[ringfence_ledger::Wish]) -> Result<(), String> {
    world.map(wishes).into_iter().try_for_each(|answer| answer.map(drop).map_err(failed))
}

/// A process that has memory, and can be killed.
struct Process {
    child: Child,
    pidfd: OwnedFd,
    memory: i32,
}

impl Process {
    fn start() -> Result<Self, String> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("wait").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let output = child.stdout.take().ok_or("it has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
        let memory = line.trim().parse().map_err(|error| format!("{line}: {error}"))?;
        let pidfd = pidfd_open(pid(&child)?, PidfdFlags::empty()).map_err(|e| e.to_string())?;
        Ok(Self { child, pidfd, memory })
    }

    fn memory(&self) -> Result<File, String> {
        let file = pidfd_getfd(&self.pidfd, self.memory, PidfdGetfdFlags::empty());
        file.map(File::from).map_err(|errno| errno.to_string())
    }

    /// Kills it, and returns when whoever watches it hears so.
    fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|error| error.to_string())?;
        poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], None).map_err(|e| e.to_string())?;
        self.child.wait().map(drop).map_err(|error| error.to_string())
    }
}

fn pid(child: &Child) -> Result<Pid, String> {
    let number = i32::try_from(child.id()).map_err(|error| error.to_string())?;
    Pid::from_raw(number).ok_or_else(|| "no process".to_owned())
}

/// Has memory, says so, and waits to be killed.
pub(crate) fn wait() -> Result<(), String> {
    let owned = Owned::new(PAGES)?;
    println!("{}", owned.file.as_raw_fd());
    std::io::stdout().flush().map_err(|error| error.to_string())?;
    std::io::stdin().read(&mut [0]).map(drop).map_err(|error| error.to_string())
}
