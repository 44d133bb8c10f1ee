//! The processes of a run: who they are, which of them ended, and how all of them are ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_jail::Report;
use ringfence_refusal::{Failure, Fault};
use ringfence_vmm::qmp::Qmp;
use ringfence_vmm::{Child, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::death::{Death, Departed};
use super::relay::Relay;
use super::screen::Screen;
use crate::signals::StopRequests;

/// How long each has to end by itself once asked.
const GRACE: Duration = Duration::from_secs(5);

/// What a process is in the run; backends and fences with the number of their device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Backend(usize),
    Fence(usize),
    Vmm,
    VmmWithTerminal,
}

/// A process of the run.
pub(super) struct Member {
    pub(super) role: Role,
    pub(super) child: Child,
    pub(super) command: String,
    /// What it complains about.
    pub(super) words: Relay,
    /// What it puts out, if that is not the same.
    output: Option<Relay>,
}

/// What happened while waiting.
pub(super) enum News {
    Nothing,
    AskedToStop,
    Ended(Departed),
}

/// The processes of a run, in the order they were started.
pub(super) struct Crew {
    members: Vec<Member>,
    /// Devices whose backend was started here.
    started_backends: BTreeSet<usize>,
    stop: StopRequests,
    screen: Arc<Screen>,
}

impl Crew {
    pub(super) fn new(stop: StopRequests, screen: Arc<Screen>) -> Self {
        Self { members: Vec::new(), started_backends: BTreeSet::new(), stop, screen }
    }

    /// Starts one more process, from the thread that lives as long as the run. Gives back what its
    /// jail holds, if it is in one.
    pub(super) fn hire(&mut self, mut spec: Spec, role: Role) -> Result<Option<Report>, Failure> {
        let command = spec.command_line();
        let (words, stderr) = Relay::words(&spec.name, &self.screen)?;
        let output = match role {
            // A helper's output is talk as well.
            Role::Backend(_) | Role::Fence(_) => {
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
        if let Role::Backend(device) = role {
            self.started_backends.insert(device);
        }
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
                return Ok(News::Ended(Departed::new(self.members.remove(index), status)));
            }
        }
        Ok(if asked { News::AskedToStop } else { News::Nothing })
    }

    /// Whether somebody asked us to stop.
    pub(super) fn is_asked_to_stop(&self) -> Result<bool, Fault> {
        let mut descriptors = [PollFd::new(&self.stop, PollFlags::IN)];
        match poll(&mut descriptors, Some(&Timespec::default())) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(Fault::new("look for", "signals", error)),
        }
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
            who: who.to_owned(),
            how,
            last_words: member.map(|member| member.words.last_lines()).unwrap_or_default(),
            command: member.map(|member| member.command.clone()),
        }
    }

    /// Ends the backend of a device, whose service is over.
    pub(super) fn end_backend(&mut self, device: usize) -> Result<Option<Departed>, Fault> {
        let is_it = |member: &Member| member.role == Role::Backend(device);
        let Some(index) = self.members.iter().position(is_it) else { return Ok(None) };
        let mut member = self.members.remove(index);
        let status = member.child.stop(Duration::ZERO)?;
        Ok(Some(Departed::new(member, status)))
    }

    /// Ends everybody: the VMM first, so that its devices are not taken from a running guest; then
    /// the fences, then the backends, which write out what they hold.
    pub(super) fn dismiss(mut self, qmp_socket: &std::path::Path) {
        // A device without its backend is taken already, and the VMM would wait for it to come back.
        self.signal_all(|crew, role| {
            let Role::Fence(device) = role else { return false };
            !crew.members.iter().any(|member| member.role == Role::Backend(device))
                && crew.started_backends.contains(&device)
        });
        if let Some(vmm) = self.members.iter_mut().find(|member| member.is_vmm()) {
            vmm.end_politely(qmp_socket);
        }
        let fences = |role: Role| matches!(role, Role::Fence(_));
        let backends = |role: Role| matches!(role, Role::Backend(_));
        for is_next in [fences, backends] {
            // All at once, so that waiting for one is waiting for all.
            self.signal_all(|_, role| is_next(role));
            for member in self.members.iter_mut().filter(|member| is_next(member.role)) {
                let _ = member.child.wait_until(Instant::now() + GRACE);
                let _ = member.child.stop(Duration::ZERO);
            }
        }
        self.members.iter().for_each(Member::wait_for_words);
    }

    fn signal_all(&self, whom: impl Fn(&Self, Role) -> bool) {
        for member in self.members.iter().filter(|member| whom(self, member.role)) {
            // Who is gone already needs no signal.
            let _ = member.child.signal(Signal::TERM);
        }
    }
}

impl Member {
    fn is_vmm(&self) -> bool {
        matches!(self.role, Role::Vmm | Role::VmmWithTerminal)
    }

    /// Waits until everything it said has been passed on.
    pub(super) fn wait_for_words(&self) {
        self.words.wait_for_end();
        if let Some(output) = &self.output {
            output.wait_for_end();
        }
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
