//! The processes of a run: who they are, which of them ended, and how all of them are ended.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_jail::Report;
use ringfence_refusal::{Failure, Fault};
use ringfence_vmm::child::describe_exit;
use ringfence_vmm::qmp::Qmp;
use ringfence_vmm::{Child, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::relay::Relay;
use super::screen::Screen;
use crate::exit::Exit;
use crate::signals::StopRequests;
use crate::talk::Trouble;

/// How long each has to end by itself once asked.
const GRACE: Duration = Duration::from_secs(5);

/// What a process is in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Backend,
    Fence,
    Vmm,
    VmmWithTerminal,
}

/// A process of the run.
struct Member {
    role: Role,
    child: Child,
    command: String,
    /// What it complains about.
    words: Relay,
    /// What it puts out, if that is not the same.
    output: Option<Relay>,
}

/// Somebody's end, or failure to begin.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) is_vmm: bool,
    /// It ended by itself and without complaint.
    pub(super) in_peace: bool,
    who: String,
    how: String,
    last_words: Vec<String>,
    command: Option<String>,
}

impl Death {
    /// "the backend of disk died: exit code 1".
    pub(super) fn sentence(&self) -> String {
        format!("{} {}", self.who, self.how)
    }
}

impl From<&Death> for Trouble {
    fn from(death: &Death) -> Self {
        let mut what = death.sentence();
        if !death.last_words.is_empty() {
            what.push_str("; its last words:");
            for line in &death.last_words {
                what.push_str("\n    ");
                what.push_str(line);
            }
        }
        let advice = if death.last_words.is_empty() {
            "it said nothing: see what ended it (the kernel's log tells of memory running out)"
        } else {
            "put right what it complains about"
        };
        let next = match &death.command {
            Some(command) => format!("{advice}; by hand it is\n    {command}"),
            None => "start who should listen there, then try again".to_owned(),
        };
        Self::new(Exit::Environment, what, next)
    }
}

/// What happened while waiting.
pub(super) enum News {
    Nothing,
    AskedToStop,
    Ended(Death),
}

/// The processes of a run, in the order they were started.
pub(super) struct Crew {
    members: Vec<Member>,
    stop: StopRequests,
    screen: Arc<Screen>,
}

impl Crew {
    pub(super) fn new(stop: StopRequests, screen: Arc<Screen>) -> Self {
        Self { members: Vec::new(), stop, screen }
    }

    /// Starts one more process, from the thread that lives as long as the run. Gives back what its
    /// jail holds, if it is in one.
    pub(super) fn hire(&mut self, mut spec: Spec, role: Role) -> Result<Option<Report>, Failure> {
        let command = spec.command_line();
        let (words, stderr) = Relay::words(&spec.name, &self.screen)?;
        let output = match role {
            // A helper's output is talk as well.
            Role::Backend | Role::Fence => {
                spec.stdout = words.another_end(&stderr)?;
                None
            }
            Role::Vmm => {
                let (output, stdout) = Relay::guest_console(&self.screen)?;
                spec.stdout = stdout.into();
                Some(output)
            }
            Role::VmmWithTerminal => None,
        };
        spec.stderr = stderr.into();
        let child = Child::spawn(spec)?;
        let jail = child.jail().cloned();
        self.members.push(Member { role, child, command, words, output });
        Ok(jail)
    }

    /// Waits until somebody ends, we are asked to stop, or the time is up.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<News, Fault> {
        let timeout = Timespec::try_from(patience).ok();
        let asked = {
            let mut descriptors = vec![PollFd::new(&self.stop, PollFlags::IN)];
            for member in &self.members {
                descriptors.push(PollFd::from_borrowed_fd(member.child.pidfd(), PollFlags::IN));
            }
            match poll(&mut descriptors, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Fault::new("wait for", "the processes", error)),
            }
            !descriptors[0].revents().is_empty()
        };
        // A death explains more than a wish to stop does, and may be why somebody wished it.
        for index in 0..self.members.len() {
            if let Some(status) = self.members[index].child.try_wait()? {
                return Ok(News::Ended(self.death(index, status)));
            }
        }
        Ok(if asked { News::AskedToStop } else { News::Nothing })
    }

    /// Whether the VMM ends without complaint within `patience`.
    pub(super) fn vmm_ends_in_peace(&mut self, patience: Duration) -> Result<bool, Fault> {
        let deadline = Instant::now() + patience;
        match self.members.iter_mut().find(|member| member.is_vmm()) {
            Some(vmm) => Ok(vmm.child.wait_until(deadline)?.is_some_and(|status| status.success())),
            None => Ok(false),
        }
    }

    /// A death in words for somebody who lives but does not do what it is there for.
    pub(super) fn blame(&self, who: &str, how: String) -> Death {
        let member = self.members.iter().find(|member| member.child.name() == who);
        Death {
            is_vmm: false,
            in_peace: false,
            who: who.to_owned(),
            how,
            last_words: member.map(|member| member.words.last_lines()).unwrap_or_default(),
            command: member.map(|member| member.command.clone()),
        }
    }

    fn death(&self, index: usize, status: ExitStatus) -> Death {
        let member = &self.members[index];
        member.words.wait_for_end();
        Death {
            is_vmm: member.is_vmm(),
            in_peace: status.success(),
            who: member.child.name().to_owned(),
            how: if status.success() {
                "ended while it was needed".to_owned()
            } else {
                format!("died: {}", describe_exit(status))
            },
            last_words: member.words.last_lines(),
            command: Some(member.command.clone()),
        }
    }

    /// Ends everybody: the VMM first, so that its devices are not taken from a running guest; then
    /// the fences, then the backends, which write out what they hold.
    pub(super) fn dismiss(mut self, qmp_socket: &std::path::Path) {
        if let Some(vmm) = self.members.iter_mut().find(|member| member.is_vmm()) {
            vmm.end_politely(qmp_socket);
        }
        for role in [Role::Fence, Role::Backend] {
            let members = || self.members.iter().filter(|member| member.role == role);
            // All at once, so that waiting for one is waiting for all.
            members().for_each(|member| drop(member.child.signal(Signal::TERM)));
            for member in self.members.iter_mut().filter(|member| member.role == role) {
                let _ = member.child.wait_until(Instant::now() + GRACE);
                let _ = member.child.stop(Duration::ZERO);
            }
        }
        for member in &self.members {
            member.words.wait_for_end();
            if let Some(output) = &member.output {
                output.wait_for_end();
            }
        }
    }
}

impl Member {
    fn is_vmm(&self) -> bool {
        matches!(self.role, Role::Vmm | Role::VmmWithTerminal)
    }

    /// Asks the VMM to quit in its own language, then in that of signals.
    fn end_politely(&mut self, qmp_socket: &std::path::Path) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        let deadline = Instant::now() + GRACE;
        // A VMM that has not come as far as listening is not asked.
        if qmp_socket.exists() {
            let quit = |mut qmp: Qmp| qmp.quit(deadline);
            if Qmp::connect(qmp_socket, deadline).and_then(quit).is_ok() {
                let _ = self.child.wait_until(deadline);
            }
        }
        let _ = self.child.stop(GRACE);
    }
}
