//! A process that cannot outlive us, and leaves nothing of its process group behind.
//!
//! [`Spec`] says what to start, [`Child`] is it running. However we end, the child ends: dropping
//! [`Child`] kills and reaps it, and if we are killed ourselves the kernel kills it
//! ([`crate::guard`], which also says where that has holes). A child is waited for by descriptor
//! (a pidfd), so several can be polled together with sockets and deadlines.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ringfence_jail::launch::{Listener, VARIABLE, channel};
use ringfence_jail::{Profile, Report};
use ringfence_refusal::{Failure, Fault};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process, kill_process_group, pidfd_open,
    set_child_subreaper, waitpgid,
};

use crate::command_line::command_line;
use crate::{guard, program};

/// How long a child has to be in its jail.
const JAIL_PATIENCE: Duration = Duration::from_secs(10);

/// How long a killed jail has to be gone, and how often that is looked at.
const GONE_PATIENCE: Duration = Duration::from_secs(5);
const GONE_LOOK: Duration = Duration::from_millis(1);

/// What to start.
#[derive(Debug)]
pub struct Spec {
    /// What people call it in messages: "qemu", "the backend of disk".
    pub name: String,
    /// A path (if it has a slash) or a name to look up in `PATH`.
    pub program: OsString,
    /// Arguments, without the program itself.
    pub args: Vec<OsString>,
    /// Which of our variables it inherits: all, unless said otherwise.
    pub inherits: Option<&'static [&'static str]>,
    /// Variables added to those.
    pub env: Vec<(OsString, OsString)>,
    /// Where it reads from: nothing, unless said otherwise.
    pub stdin: Stdio,
    /// Where its output goes: where ours goes, unless said otherwise.
    pub stdout: Stdio,
    /// Where its complaints go: where ours go, unless said otherwise.
    pub stderr: Stdio,
    /// The folder it runs in: ours, unless said otherwise. A relative program path is *not* taken
    /// relative to this folder.
    pub current_dir: Option<PathBuf>,
    /// Whether it leads a process group of its own. Then a Ctrl-C at the terminal reaches only us,
    /// and stopping it stops its own children too. On unless it must own the terminal.
    pub new_process_group: bool,
    /// The jail it runs in, if any. Then it leads a process group and reads from nothing.
    pub jail: Option<Profile>,
}

impl Spec {
    /// `program`, called `name` in messages, without arguments and with the defaults above.
    pub fn new(name: impl Into<String>, program: impl Into<OsString>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            inherits: None,
            env: Vec::new(),
            stdin: Stdio::null(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
            current_dir: None,
            new_process_group: true,
            jail: None,
        }
    }

    /// The same with more arguments.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The command as a person would type it.
    pub fn command_line(&self) -> String {
        command_line(&self.program, &self.args)
    }
}

/// A running process of ours, or its remains.
#[derive(Debug)]
pub struct Child {
    name: String,
    program: PathBuf,
    leads_group: bool,
    pid: Pid,
    pidfd: OwnedFd,
    process: std::process::Child,
    status: Option<ExitStatus>,
    jail: Option<Jail>,
}

/// What is known of a child's jail.
#[derive(Debug)]
struct Jail {
    listener: Listener,
    report: Report,
}

impl Child {
    /// Starts what `spec` says.
    ///
    /// Refuses a program that is not there before anything is started, and waits until the jail is
    /// closed, if there is to be one. Call it from a thread that
    /// lives as long as the child should: the kernel ends the child with the thread that started it.
    ///
    /// # Panics
    ///
    /// When `main` did not begin with [`crate::become_child_if_asked`].
    pub fn spawn(spec: Spec) -> Result<Self, Failure> {
        let program = program::find(&spec.program).map_err(|refusal| refusal.within(&spec.name))?;
        let mut spec = spec;
        let mut listener = None;
        if spec.jail.is_some() {
            let (ours, theirs) = channel()?;
            listener = Some(ours);
            spec.stdin = theirs;
            spec.new_process_group = true;
            // What is left of a jail when its first stage is gone falls to us.
            let own = Some(rustix::process::getpid());
            set_child_subreaper(own)
                .map_err(|error| Fault::new("look after", "children", error))?;
        }
        let mut command =
            guard::command_to_become(spec.jail.as_ref(), program.as_os_str(), &spec.args);
        if let Some(inherits) = spec.inherits {
            let ours = std::env::vars_os().map(|(name, _)| name);
            // What is said to the stages of a jail was set on the command, and stays.
            let kept = |name: &OsString| inherits.iter().any(|kept| *kept == name.as_os_str());
            ours.filter(|name| !kept(name) && name.as_os_str() != VARIABLE).for_each(|name| {
                command.env_remove(name);
            });
        }
        command.envs(spec.env.iter().map(|(key, value)| (key, value)));
        command.stdin(spec.stdin).stdout(spec.stdout).stderr(spec.stderr);
        if let Some(folder) = &spec.current_dir {
            command.current_dir(folder);
        }
        if spec.new_process_group {
            command.process_group(0);
        }
        let fault = |error: std::io::Error| {
            Fault::new("start", format!("{} ({})", spec.name, program.display()), error)
        };
        let mut process = command.spawn().map_err(fault)?;
        let pid = Pid::from_child(&process);
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                // Whether it could be killed matters to nobody: the fault is what is reported.
                let _ = process.kill();
                let _ = process.wait();
                return Err(fault(error.into()).into());
            }
        };
        // It holds the child's ends of pipes and sockets, which are to close when the child does.
        drop(command);
        let mut child = Self {
            name: spec.name,
            program,
            leads_group: spec.new_process_group,
            pid,
            pidfd,
            process,
            status: None,
            jail: None,
        };
        if let Some(mut listener) = listener {
            // Dropping the child ends it.
            let report = listener.report(JAIL_PATIENCE).map_err(|failure| match failure {
                Failure::Refused(refusal) => Failure::from(refusal.within(&child.name)),
                Failure::Faulted(fault) => fault.concerning(&child.name).into(),
            })?;
            child.jail = Some(Jail { listener, report });
        }
        Ok(child)
    }

    /// What its jail holds, if it is in one.
    pub fn jail(&self) -> Option<&Report> {
        self.jail.as_ref().map(|jail| &jail.report)
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program it runs, as it was found.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// A descriptor that becomes readable when it has ended: poll it together with others.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The writing end of its input, once, if that was to be a pipe.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.process.stdin.take()
    }

    /// The reading end of its output, once, if that was to be a pipe.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// The reading end of its complaints, once, if those were to be a pipe.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.process.stderr.take()
    }

    /// How it ended, if it has. Once it has, what is left of its process group is killed.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, Fault> {
        self.wait_until(Instant::now())
    }

    /// How it ended, if it does before `deadline`.
    pub fn wait_until(&mut self, deadline: Instant) -> Result<Option<ExitStatus>, Fault> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        if !self.ended_by(deadline)? {
            return Ok(None);
        }
        self.reap().map(Some)
    }

    /// Ends it: asks with SIGTERM, waits for `grace`, then kills. Says how it ended.
    pub fn stop(&mut self, grace: Duration) -> Result<ExitStatus, Fault> {
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        // A deadline beyond what the clock can say is no deadline worth the name: kill at once.
        let deadline = Instant::now().checked_add(grace).unwrap_or_else(Instant::now);
        if let Some(status) = self.wait_until(deadline)? {
            return Ok(status);
        }
        self.signal(Signal::KILL)?;
        self.reap()
    }

    /// Sends a signal to it, and to its process group if it leads one.
    pub fn signal(&self, signal: Signal) -> Result<(), Fault> {
        if self.status.is_some() {
            return Ok(());
        }
        // Its id cannot have passed to a stranger: it has not been reaped.
        let outcome = if self.leads_group {
            kill_process_group(self.pid, signal)
        } else {
            kill_process(self.pid, signal)
        };
        match outcome {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(self.fault("signal", error)),
        }
    }

    /// Waits for the end without reaping, so that the id stays ours.
    fn ended_by(&self, deadline: Instant) -> Result<bool, Fault> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let mut descriptors = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut descriptors, timeout.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(self.fault("wait for", error)),
            }
        }
    }

    fn reap(&mut self) -> Result<ExitStatus, Fault> {
        // The leader is a zombie at most, so the group's id still names this group and no other.
        if self.leads_group {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        let mut status = self.process.wait().map_err(|error| self.fault("wait for", error))?;
        if let Some(jail) = &mut self.jail {
            // The stage that waited for the program could only pass on an exit code.
            status = jail.listener.ending().unwrap_or(status);
            self.wait_for_the_jail();
        }
        self.status = Some(status);
        Ok(status)
    }

    /// Waits until the jail's first process is gone, and all in it with it, so that whoever is
    /// started next finds no lock held by them. It has become our child when its parent died.
    fn wait_for_the_jail(&self) {
        let deadline = Instant::now() + GONE_PATIENCE;
        while Instant::now() < deadline {
            match waitpgid(self.pid, WaitOptions::NOHANG) {
                Ok(None) => std::thread::sleep(GONE_LOOK),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn fault(&self, operation: &'static str, error: impl Into<std::io::Error>) -> Fault {
        Fault::new(operation, format!("{} (process {})", self.name, self.pid), error)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.status.is_none() {
            // There is nobody to tell, and the kernel still ends it with us.
            let _ = self.signal(Signal::KILL);
            let _ = self.reap();
        }
    }
}

/// How a process ended, in words: "exit code 3", "killed by signal 9 (SIGKILL)".
pub fn describe_exit(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => match signal_name(signal) {
            Some(name) => format!("killed by signal {signal} ({name})"),
            None => format!("killed by signal {signal}"),
        },
        (None, None) => "ended".to_owned(),
    }
}

/// Names of the signals processes are known to die of.
fn signal_name(signal: i32) -> Option<&'static str> {
    let named = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::TERM, "SIGTERM"),
        (Signal::SYS, "SIGSYS"),
    ];
    named.into_iter().find(|(known, _)| known.as_raw() == signal).map(|(_, name)| name)
}
