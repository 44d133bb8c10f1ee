//! What is tried with a served `edu`, one thing after the other.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringfence_ledger::Retirement;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::MemfdFlags;

use super::client::Client;
use super::edu::Edu;
use super::host::{Host, MIB, gpa, told};

const SOCKET: &str = "/tmp/edu.sock";
/// Where the VM has memory; the file has what is for the low part only.
const LOW_BYTES: u64 = 16 * MIB;
const HIGH: u64 = 1 << 32;
const HIGH_BYTES: u64 = 4 * MIB;
/// How long what happens beside us may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Kinds of interrupts.
const LINE: u32 = 0;
const MESSAGE: u32 = 1;

/// Every scene, in order.
pub(crate) fn all(address: &str) -> Result<(), String> {
    let planned = [gpa(0, LOW_BYTES)?, gpa(HIGH, HIGH_BYTES)?].into_iter().collect();
    let host = Host::serve(address, Path::new(SOCKET), &planned)?;
    say("without a client", format!("bus {}", on(host.is_master()?)));
    let mut client = Client::connect(&host.socket)?;
    let edu = Edu::new(&mut client, memory(LOW_BYTES)?)?;
    seen(&host, &mut client, &edu)?;
    signalled(&mut client, &edu)?;
    reached(&host, &mut client, &edu)?;
    given_back(&host, &edu)?;
    refused(&host, &mut client, &edu)?;
    fenced(&host, &mut client, &edu)?;
    drop(client);
    gone(&host, "a client that went")?;
    killed(&host, &edu.memory)?;
    lent(host, edu)
}

fn say(what: &str, outcome: impl std::fmt::Display) {
    println!("{what}: {outcome}");
}

fn on(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn memory(bytes: u64) -> Result<File, String> {
    let memfd = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC);
    let file: File = memfd.map_err(|errno| errno.to_string())?.into();
    file.set_len(bytes).map_err(|error| error.to_string())?;
    Ok(file)
}

/// Config space, and registers through the mapping that was lent.
fn seen(host: &Host, client: &mut Client, edu: &Edu) -> Result<(), String> {
    say("config", format!("{:02x?}", client.config(0, 4)?));
    say("flags", client.info()?);
    say("interrupts", format!("{} {}", client.interrupts(LINE)?, client.interrupts(MESSAGE)?));
    let (identity, inverts) = edu.answers()?;
    say("mapped registers", format!("{identity:#x} {inverts}"));
    say("trapped registers", format!("{:02x?}", client.read(0, 0, 4)?));
    say("bus before the guest", on(host.is_master()?));
    edu.be_master(client)?;
    say("bus after the guest", on(host.is_master()?));
    Ok(())
}

/// Interrupts by eventfds of the client's.
fn signalled(client: &mut Client, edu: &Edu) -> Result<(), String> {
    for (name, index) in [("message", MESSAGE), ("line", LINE)] {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| errno.to_string())?;
        let mut eventfd = File::from(eventfd);
        client.connect_interrupt(index, Some(&eventfd))?;
        let mut count = 0;
        for _ in 0..2 {
            edu.raise()?;
            count += taken(&mut eventfd)?;
            edu.acknowledge()?;
            if index == LINE {
                client.unmask(index)?;
            }
        }
        client.connect_interrupt(index, None)?;
        say(&format!("interrupts by {name}"), count);
    }
    let disk: File = File::open("/dev/null").map_err(|error| error.to_string())?;
    say("interrupts to a file", said(client.connect_interrupt(MESSAGE, Some(&disk))));
    Ok(())
}

/// What an eventfd counts, once it counts something.
fn taken(eventfd: &mut File) -> Result<u64, String> {
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(eventfd, PollFlags::IN)], Some(&patience));
    if ready.map_err(|errno| errno.to_string())? == 0 {
        return Ok(0);
    }
    let mut count = [0; 8];
    eventfd.read_exact(&mut count).map_err(|error| error.to_string())?;
    Ok(u64::from_ne_bytes(count))
}

/// Memory that is mapped, that is not, and that is no more.
fn reached(host: &Host, client: &mut Client, edu: &Edu) -> Result<(), String> {
    say("before anything is mapped", edu.copies(MIB, 2 * MIB, 0x11)?);
    client.map(0, LOW_BYTES, &edu.memory, 0)?;
    let (frames, locked) = host.counted()?;
    say("mapped", format!("{frames} frames, {locked} kB locked"));
    say("inside", edu.copies(MIB, 5 * MIB, 0x22)?);
    // Beyond the memory: the page that would be there in the file is the first one.
    edu.transfer(0x4_0000, LOW_BYTES + MIB, 3)?;
    client.unmap(0, LOW_BYTES)?;
    let (frames, locked) = host.counted()?;
    say("unmapped", format!("{frames} frames, {locked} kB locked"));
    say("after it is unmapped", edu.writes(5 * MIB, 0x22)?);
    client.map(0, LOW_BYTES, &edu.memory, 0)?;
    say("mapped again", edu.writes(5 * MIB, 0x22)?);
    Ok(())
}

/// A page that the guest gives back while the function has it, and when it has it no more.
fn given_back(host: &Host, edu: &Edu) -> Result<(), String> {
    let page = 5 * MIB;
    let retire = |host: &Host| {
        let memory = gpa(page, 4096)?;
        let answer = host.books()?.retire(host.owner, memory, None);
        Ok::<_, String>(match answer.map_err(|refusal| refusal.to_string())? {
            Retirement::Free => "free",
            Retirement::Busy(holders) if holders == [host.holder] => "the function has it",
            _ => "others have it",
        })
    };
    say("given back while mapped", retire(host)?);
    // What a balloon does that has all of the block.
    let gone = host.books()?.withdraw_mappings(host.owner, gpa(page, 4096)?);
    say("its block is taken out", gone.map_err(|refusal| refusal.to_string())?);
    say("given back", retire(host)?);
    say("what is left of the page", edu.holds(page, 0)?);
    say("the function writes there", edu.writes(page, 0x22)?);
    say("and elsewhere", edu.writes(7 * MIB, 0x22)?);
    let again = host.books()?.take_again(host.owner, gpa(page, 4096)?);
    again.map_err(|refusal| refusal.to_string())?;
    say("blocks taken up", host.status.take_up(gpa(page, 4096)?).map_err(told)?);
    say("and there again", edu.writes(page, 0x22)?);
    Ok(())
}

/// Memory that is none, or nobody's, or not all there.
fn refused(host: &Host, client: &mut Client, edu: &Edu) -> Result<(), String> {
    let last = |host: &Host| host.status.now().refused_last.unwrap_or_default();
    let null = File::open("/dev/null").map_err(|error| error.to_string())?;
    say("a file that is no memory", said(client.map(HIGH, MIB, &null, 0)));
    say("is told as", last(host));
    let lent = client.region(0)?;
    let bar = lent.descriptor.ok_or("BAR 0 is not lent")?;
    say("a device's memory", said(client.map(HIGH, MIB, &bar, 0)));
    say("is told as", last(host));
    say("a stranger's file", said(client.map(1 << 36, MIB, &memory(MIB)?, 0)));
    say("is told as", last(host));
    // The file ends where this part of the memory would begin.
    say("beyond the file's end", said(client.map(HIGH, HIGH_BYTES, &edu.memory, LOW_BYTES)));
    let (frames, _) = host.counted()?;
    say("counted meanwhile", frames);
    say("and it goes on", edu.writes(7 * MIB, 0x22)?);
    Ok(())
}

/// A holder that is cut off reaches nothing, whatever its guest does, until it is reset.
fn fenced(host: &Host, client: &mut Client, edu: &Edu) -> Result<(), String> {
    say("cut off", host.books()?.cut_off(host.holder));
    edu.be_master(client)?;
    say("bus when cut off", on(host.is_master()?));
    say("it writes", edu.writes(7 * MIB, 0x22)?);
    say("counted", host.counted()?.0);
    say("reset", said(client.reset()));
    edu.be_master(client)?;
    say("bus after the reset", on(host.is_master()?));
    say("it writes again", edu.writes(7 * MIB, 0x22)?);
    Ok(())
}

/// What is left when a client is gone, once nothing is, or after a while.
fn gone(host: &Host, what: &str) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = host.status.now();
        let (frames, locked) = host.counted()?;
        let bus = on(host.is_master()?);
        let left = now.reached + now.withheld + now.elsewhere;
        let is_clean = left == 0 && frames == 0 && locked == 0 && now.is_fenced;
        if is_clean || Instant::now() > end {
            say(what, format!("{left} bytes, {frames} frames, {locked} kB locked, bus {bus}"));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client that is killed in the middle of a transfer.
fn killed(host: &Host, memory: &File) -> Result<(), String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(this);
    let memory = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    command.arg("client").arg(&host.socket).arg(memory).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let output = child.stdout.take().ok_or("no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
    let (frames, _) = host.counted()?;
    let bus = on(host.is_master()?);
    say("another client", format!("{}, {frames} frames, bus {bus}", line.trim()));
    child.kill().map_err(|error| error.to_string())?;
    child.wait().map_err(|error| error.to_string())?;
    gone(host, "a client that was killed")
}

/// The other client, a VMM of the same guest's: it has the memory by the file of the first.
pub(crate) fn stay(socket: &Path, memory: &Path) -> Result<(), String> {
    let mut client = Client::connect(socket)?;
    let file = File::options().read(true).write(true).open(memory);
    let file = file.map_err(|error| error.to_string())?;
    let edu = Edu::new(&mut client, file)?;
    client.map(0, LOW_BYTES, &edu.memory, 0)?;
    edu.be_master(&mut client)?;
    println!("{}", edu.copies(MIB, 3 * MIB, 0x33)?);
    loop {
        edu.transfer(0x4_0000, 3 * MIB, 3)?;
    }
}

/// Whether what was lent has come back.
fn lent(host: Host, edu: Edu) -> Result<(), String> {
    let hold = host.end()?;
    let asked = |what: &str| {
        let answer = hold.take_back();
        say(what, answer.map_or_else(told, |()| "all of it".to_owned()));
    };
    asked("back while a BAR is mapped");
    drop(edu);
    asked("back when it is not");
    Ok(())
}

fn said(outcome: Result<(), String>) -> String {
    outcome.map_or_else(|error| error, |()| "done".to_owned())
}
