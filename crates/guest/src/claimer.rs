//! Claims PCI functions in a lab's host, as the program does, and can be killed at any record.
//!
//! `claimer claim [--kill-after N] ADDRESS…` takes a group; killed, it is as by `kill -9` when N
//! records are on the disk. `release [--kill-after N] ADDRESS` gives one back, `recover` cleans up.
//! `hold ADDRESS COMMAND` runs a line of shell while a claim is held, `watch ADDRESS COMMAND` runs
//! it and says what came in. `state ADDRESS…` prints what each function is bound to. `--patience N`
//! in front of all that gives drivers N seconds to answer.

use std::cell::Cell;
use std::process::{Command, ExitCode};
use std::time::Duration;

use ringfence_addr::PciAddress;
use ringfence_device::{
    Claim, HostWriter, Manager, News, RUN_FOLDER, Record, Recovered, Root, Store,
    become_writer_if_asked, breaches, viability,
};
use ringfence_host::read::{Options, live};
use ringfence_refusal::Failure;
use rustix::process::{Signal, getpid, kill_process};

/// How long news of a change that was made already may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    become_writer_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match obey(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("claimer: {message}");
            ExitCode::FAILURE
        }
    }
}

fn obey(words: &[&str]) -> Result<(), String> {
    let (writer, words) = match words {
        ["--patience", seconds, rest @ ..] => {
            let seconds = seconds.parse().map_err(|error| format!("{seconds}: {error}"))?;
            (HostWriter::with_patience(Duration::from_secs(seconds)), rest)
        }
        words => (HostWriter::default(), words),
    };
    let manager = Manager::new(Root::default(), &writer, Store::new(RUN_FOLDER));
    match words {
        [verb, "--kill-after", records, rest @ ..] => {
            let last: usize = records.parse().map_err(|error| format!("{records}: {error}"))?;
            let count = Cell::new(0);
            let observer = |_: &Record| {
                count.set(count.get() + 1);
                if count.get() == last {
                    let _ = kill_process(getpid(), Signal::KILL);
                }
            };
            change(&manager.observed_by(&observer), verb, rest)
        }
        ["state", rest @ ..] => state(rest),
        ["viability", address] => {
            let host = live(Options::default()).map_err(|fault| told(fault.into()))?;
            let seen = viability(&host, parse(address)?).ok_or("there is no such function")?;
            println!("{}", if seen.is_viable() == Some(true) { "viable" } else { "not viable" });
            seen.blockers.iter().for_each(|blocker| println!("{blocker}"));
            Ok(())
        }
        ["hold", address, command] => {
            let hold = manager.hold(parse(address)?).map_err(told)?;
            println!("held: {}", hold.held().len());
            shell(command)
        }
        ["watch", address, command] => {
            let claim = claim_of(&manager, parse(address)?)?;
            let news = News::listen().map_err(|fault| told(fault.into()))?;
            let find =
                || breaches(&Root::default(), &claim.plan).map_err(|fault| told(fault.into()));
            println!("before: {}", find()?.len());
            shell(command)?;
            news.wait(PATIENCE).map_err(|fault| told(fault.into()))?;
            find()?.iter().for_each(|breach| println!("{breach}"));
            Ok(())
        }
        [verb, rest @ ..] => change(&manager, verb, rest),
        [] => Err("nothing to do".to_owned()),
    }
}

fn change(manager: &Manager<'_>, verb: &str, rest: &[&str]) -> Result<(), String> {
    match (verb, rest) {
        ("claim", rest) => {
            let functions: Result<Vec<_>, _> = rest.iter().map(|word| parse(word)).collect();
            let claim = manager.claim(&functions?).map_err(told)?;
            println!("claimed {}", claim.name);
        }
        ("release", [address]) => {
            let claim = manager.release(parse(address)?).map_err(told)?;
            println!("released {}", claim.name);
        }
        ("recover", []) => {
            for recovered in manager.recover().map_err(told)? {
                match recovered {
                    Recovered::Stands(claim) => println!("stands {}", claim.name),
                    Recovered::Undone(claim) => println!("undone {}", claim.name),
                    Recovered::Forgotten(name) => println!("forgotten {name}"),
                    Recovered::InWork(name) => println!("in work {name}"),
                    Recovered::Failed(name, failure) => println!("failed {name}: {failure}"),
                }
            }
        }
        _ => return Err(format!("`{verb}` is nothing it can do")),
    }
    Ok(())
}

fn claim_of(manager: &Manager<'_>, function: PciAddress) -> Result<Claim, String> {
    let claims = manager.claims().map_err(told)?;
    let found = claims.into_iter().find(|claim| claim.plan.member(function).is_some());
    found.ok_or_else(|| format!("{function} is in no claim"))
}

fn state(functions: &[&str]) -> Result<(), String> {
    let root = Root::default();
    for function in functions {
        let address = parse(function)?;
        let driver = root.driver_of(address).map_err(|fault| told(fault.into()))?;
        let only = root.override_of(address).map_err(|fault| told(fault.into()))?;
        let name = |driver: Option<String>| driver.unwrap_or("-".to_owned());
        println!("{address} {} {}", name(driver), name(only));
    }
    Ok(())
}

fn shell(command: &str) -> Result<(), String> {
    let status = Command::new("sh").args(["-c", command]).status();
    status.map(drop).map_err(|error| format!("cannot start sh: {error}"))
}

fn parse(word: &str) -> Result<PciAddress, String> {
    word.parse().map_err(|error| format!("{error}"))
}

fn told(failure: Failure) -> String {
    match &failure {
        Failure::Refused(refusal) => refusal.to_string(),
        Failure::Faulted(fault) => format!("{fault}: {}", fault.io_error()),
    }
}
