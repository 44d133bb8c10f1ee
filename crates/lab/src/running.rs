//! A machine while it runs: its console read as it speaks, its input, and its end.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ChildStdin, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ringfence_vmm::child::{Child, Spec, describe_exit};
use ringfence_vmm::command_line::command_line;

use crate::console::Console;
use crate::error::LabError;
use crate::keeper::Keeper;
use crate::repeat::{self, Steps};
use crate::root::place;
use crate::scratch::Scratch;

/// How to start a machine: a program and what it needs in its scratch folder.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) starts_processes: bool,
    #[expect(
        dead_code,
        reason = "what it holds is named by the arguments; it goes with the machine"
    )]
    pub(crate) scratch: Scratch,
}

/// A machine that was started. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    // First, so that the process is gone before its folder goes.
    child: Child,
    /// For a machine that has processes of its own.
    _keeper: Option<Keeper>,
    input: Option<ChildStdin>,
    output: Arc<Output>,
    looked_at: usize,
    plan: Plan,
}

/// A guest that talks without end must not fill the test's memory.
const OUTPUT_LIMIT: usize = 16 << 20;

#[derive(Debug, Default)]
struct Output {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    is_over: bool,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, mut from: impl Read) {
        let mut portion = [0; 4096];
        // An error (the other end is gone) is an end like any other.
        while let Ok(count @ 1..) = from.read(&mut portion) {
            let mut state = self.lock();
            let room = OUTPUT_LIMIT.saturating_sub(state.bytes.len()).min(count);
            state.bytes.extend(&portion[..room]);
            drop(state);
            self.changed.notify_all();
        }
        self.lock().is_over = true;
        self.changed.notify_all();
    }
}

impl Running {
    pub(crate) fn start(plan: Plan) -> Result<Self, LabError> {
        match launch(&plan) {
            Ok((child, keeper, input, output)) => {
                Ok(Self { child, _keeper: keeper, input: Some(input), output, looked_at: 0, plan })
            }
            Err(error) => Err(plan.failed(format!("{error:#}"), Console::default())),
        }
    }

    /// The process id of the machine's own process.
    pub fn pid(&self) -> i32 {
        self.child.pid().as_raw_pid()
    }

    /// What the machine said so far.
    pub fn console(&self) -> Console {
        Console::parse(&self.output.lock().bytes)
    }

    /// Types a line on the machine's console.
    pub fn send_line(&mut self, line: &str) -> Result<(), LabError> {
        let Some(input) = &mut self.input else {
            return Err(self.failed("its console takes no more input"));
        };
        let sent = input.write_all(format!("{line}\n").as_bytes()).and_then(|()| input.flush());
        sent.map_err(|error| self.failed(format!("its console took no input: {error}")))
    }

    /// Waits for a line that contains `pattern`, after the one the last wait ended with.
    pub fn wait_for(&mut self, pattern: &str, patience: Duration) -> Result<String, LabError> {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.has_ended();
            let console = self.console();
            let lines = console.lines().iter().enumerate().skip(self.looked_at);
            if let Some((index, line)) = lines.into_iter().find(|(_, line)| line.contains(pattern))
            {
                self.looked_at = index + 1;
                return Ok(line.clone());
            }
            if ended {
                let how = self.how_it_ended();
                return Err(self.failed(format!("it ended ({how}) before it said `{pattern}`")));
            }
            if let Some(panic) = console.panic() {
                return Err(self.failed(format!("its kernel gave up: {panic}")));
            }
            if Instant::now() >= deadline {
                return Err(self.failed(format!("it did not say `{pattern}` within {patience:?}")));
            }
            self.pause();
        }
    }

    /// Waits for the machine to power off; an error unless its script ended well.
    pub fn finish(mut self, patience: Duration) -> Result<Console, LabError> {
        let deadline = Instant::now() + patience;
        // After a panic the machine should end by itself; it gets a moment to say all it has.
        let mut gave_up: Option<Instant> = None;
        while !self.has_ended() {
            let now = Instant::now();
            if gave_up.is_none() && self.console().panic().is_some() {
                gave_up = Some(now + Duration::from_secs(1));
            }
            if gave_up.is_some_and(|moment| now >= moment) {
                break;
            }
            if now >= deadline {
                return Err(self.failed(format!("it did not finish within {patience:?}")));
            }
            self.pause();
        }
        let console = self.console();
        if let Some(failure) = console.value("lab-failed") {
            return Err(self.failed(format!("its start failed: {failure}")));
        }
        match console.value("lab-exit") {
            Some("0") => Ok(console),
            Some(status) => Err(self.failed(format!("its script failed with status {status}"))),
            None => match console.panic() {
                Some(panic) => Err(self.failed(format!("its kernel gave up: {panic}"))),
                None => {
                    let how = self.how_it_ended();
                    Err(self.failed(format!("it ended before its script did: {how}")))
                }
            },
        }
    }

    /// Ends the machine as if its power were cut.
    pub fn kill(mut self) -> Console {
        // Dropping kills it anyway; this way what it said last is in.
        let _ = self.child.stop(Duration::ZERO);
        self.console()
    }

    /// A report of what went wrong in the test's own words.
    pub fn failed(&self, summary: impl Into<String>) -> LabError {
        self.plan.failed(summary.into(), self.console())
    }

    fn pause(&self) {
        let state = self.output.lock();
        if !state.is_over {
            let outcome = self.output.changed.wait_timeout(state, Duration::from_millis(50));
            drop(outcome.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Whether its process is gone and all it said is in.
    fn has_ended(&mut self) -> bool {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            if self.output.lock().is_over {
                // It closed its console; its end is a matter of moments.
                std::thread::sleep(Duration::from_millis(5));
            }
            return false;
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.output.lock().is_over && Instant::now() < deadline {
            self.pause();
        }
        true
    }

    fn how_it_ended(&mut self) -> String {
        match self.child.wait_until(Instant::now() + Duration::from_secs(1)) {
            Ok(Some(status)) => describe_exit(status),
            Ok(None) => "it runs still".to_owned(),
            Err(fault) => fault.to_string(),
        }
    }
}

type Launched = (Child, Option<Keeper>, ChildStdin, Arc<Output>);

fn launch(plan: &Plan) -> Result<Launched> {
    // One pipe for both, so that complaints stand where they were made.
    let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let mut spec = Spec::new(&plan.name, &plan.program).args(plan.arguments.iter().cloned());
    spec.env.extend(plan.environment.iter().cloned());
    spec.stdin = Stdio::piped();
    spec.stdout = duplicate(&writing)?;
    spec.stderr = Stdio::from(writing);
    let mut child = Child::spawn(spec).map_err(|failure| match failure {
        ringfence_refusal::Failure::Refused(refusal) => anyhow::Error::new(refusal),
        ringfence_refusal::Failure::Faulted(fault) => anyhow::Error::new(fault),
    })?;
    let keeper = match plan.starts_processes {
        true => Some(Keeper::watch(child.pid().as_raw_pid()).context("cannot start /bin/sh")?),
        false => None,
    };
    let input = child.take_stdin().context("its input was to be a pipe")?;
    let output = Arc::new(Output::default());
    let collected = Arc::clone(&output);
    std::thread::spawn(move || collected.collect(std::fs::File::from(reading)));
    Ok((child, keeper, input, output))
}

fn duplicate(descriptor: &OwnedFd) -> Result<Stdio> {
    Ok(Stdio::from(descriptor.try_clone()?))
}

impl Plan {
    /// The command as a person would type it.
    fn command(&self) -> String {
        let mut command = String::new();
        for (name, value) in &self.environment {
            let value = command_line(value, [""; 0]);
            command.push_str(&format!("{}={value} ", name.to_string_lossy()));
        }
        command + &command_line(&self.program, &self.arguments)
    }

    /// The report of a failure; what is needed to repeat it is kept.
    fn failed(&self, summary: String, console: Console) -> LabError {
        let summary = format!("the machine `{}` failed: {summary}", self.name);
        let folder = place().join("failed").join(&self.name);
        let command = self.command();
        match repeat::keep(&command, &folder) {
            Ok(Steps { backends, machine }) => {
                LabError { summary, console, backends, command: machine, kept: Some(folder) }
            }
            Err(_) => LabError { summary, console, backends: Vec::new(), command, kept: None },
        }
    }
}
