//! Watching a run: fences are asked how they are, and backends that die are started again.
//!
//! The fence holds back what the guest asks for until there is a successor at the same socket, and
//! gives it what was in flight; so all there is to do here is to start one, and soon.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_refusal::Failure;

use super::commands::Commands;
use super::crew::{Crew, News, Role};
use super::death::{Death, Departed};
use super::life::{Life, Standing};
use super::report::Ending;
use super::restarts::Next;
use super::screen::Screen;
use super::{START_PATIENCE, STATUS_PATIENCE};
use crate::config::Vm;
use crate::status;

/// How often the fences are asked how they are.
const TICK: Duration = Duration::from_millis(300);

/// How long after a helper that ended in peace the VMM may end, too, for that to be one event.
const AFTERMATH: Duration = Duration::from_millis(700);

/// A fence learns of a backend's end at the same moment as we do; how long it is given to say so,
/// and how often it is asked.
const NOTICE_LOOK: Duration = Duration::from_millis(1);
const NOTICE_LOOKS: u32 = 10;

/// The most often that the deaths of one backend are said.
const BETWEEN_WORDS: Duration = Duration::from_secs(1);

/// A run that is up.
pub(super) struct Watch<'a> {
    pub(super) crew: &'a mut Crew,
    pub(super) vm: &'a Vm,
    pub(super) commands: &'a Commands,
    pub(super) screen: &'a Arc<Screen>,
    pub(super) lives: &'a mut [Life],
}

impl Watch<'_> {
    /// Watches until something ends the run.
    pub(super) fn until_it_ends(&mut self) -> anyhow::Result<Ending> {
        self.screen.say(&format!(
            "{}: up, {} fenced; Ctrl-C ends it",
            self.vm.name,
            match self.vm.devices.len() {
                1 => "1 device".to_owned(),
                count => format!("{count} devices"),
            }
        ));
        let mut next_look = Instant::now();
        loop {
            if let Some(ending) = self.start_what_is_due()? {
                return Ok(ending);
            }
            if Instant::now() >= next_look {
                if let Some(ending) = self.look()? {
                    return Ok(ending);
                }
                next_look = Instant::now() + TICK;
            }
            let until = self.next_start().map_or(next_look, |due| due.min(next_look));
            let departed = match self.crew.wait(until.saturating_duration_since(Instant::now()))? {
                News::Nothing => continue,
                News::AskedToStop => return Ok(self.stopped()),
                News::Ended(departed) => departed,
            };
            let ending = match departed.role() {
                Role::Backend(device) => self.backend_ended(device, departed)?,
                Role::Vmm | Role::VmmWithTerminal if departed.in_peace() => {
                    departed.wait_for_words();
                    Some(Ending::GuestEnded)
                }
                _ => Some(Ending::Died(departed.into_death())),
            };
            if let Some(ending) = ending {
                return Ok(ending);
            }
        }
    }

    fn stopped(&self) -> Ending {
        if self.screen.output_is_closed() { Ending::OutputClosed } else { Ending::Stopped }
    }

    /// Asks every fence how it is. One that does not answer keeps its last answer.
    fn look(&mut self) -> anyhow::Result<Option<Ending>> {
        look(self.commands, self.screen, self.lives);
        for device in 0..self.lives.len() {
            let life = &mut self.lives[device];
            let given_up = life.status.as_ref().and_then(|status| status.given_up());
            let is_kept = life.restarts.are_wanted()
                && !matches!(life.backend, Standing::NotOurs | Standing::Over);
            if let Some(reason) = given_up.filter(|_| is_kept) {
                let who = format!("the backend of {}", self.commands.devices[device].name);
                let how = format!("was given up by its fence: {reason}");
                return Ok(Some(Ending::Died(self.crew.blame(&who, how))));
            }
            let Standing::Rising(since) = life.backend else { continue };
            let socket = &self.commands.devices[device].backend_socket;
            if socket.exists() {
                life.restarts.listens(Instant::now());
                life.backend = Standing::Up;
            } else if since.elapsed() >= START_PATIENCE
                && let Some(ending) = self.never_listened(device, socket)?
            {
                return Ok(Some(ending));
            }
        }
        Ok(None)
    }

    fn never_listened(&mut self, device: usize, socket: &Path) -> anyhow::Result<Option<Ending>> {
        let Some(departed) = self.crew.end_backend(device)? else { return Ok(None) };
        let how = format!("did not listen on {} again", socket.display());
        Ok(self.again_or_not(device, || Death { how, ..departed.into_death() }))
    }

    /// A backend ended: it is started again, or not, or that ends the run.
    fn backend_ended(
        &mut self,
        device: usize,
        departed: Departed,
    ) -> anyhow::Result<Option<Ending>> {
        let is_kept = self.lives[device].restarts.are_wanted();
        if is_kept && self.crew.is_asked_to_stop()? {
            return Ok(Some(self.stopped()));
        }
        let mut vmm_is_there = true;
        if is_kept {
            self.ask_after_death(device);
            let status = self.lives[device].status.as_ref();
            vmm_is_there = status.is_some_and(|status| status.has_vmm());
        }
        // Some backends end when their VMM does, and are noticed first.
        let may_be_meant = departed.in_peace() && !(is_kept && vmm_is_there);
        if may_be_meant && self.crew.vmm_ends_in_peace(AFTERMATH)? {
            return Ok(Some(Ending::GuestEnded));
        }
        if !is_kept {
            return Ok(Some(Ending::Died(departed.into_death())));
        }
        let sentence = departed.sentence();
        let life = &mut self.lives[device];
        if let Some(lie) = life.status.as_ref().and_then(|status| status.lie()) {
            self.screen.say(&format!("{sentence}; not started again, as it lied: {lie}"));
            life.backend = Standing::Over;
            return Ok(None);
        }
        let ending = self.again_or_not(device, || departed.into_death());
        let life = &mut self.lives[device];
        if ending.is_none() && life.said.is_none_or(|said| said.elapsed() >= BETWEEN_WORDS) {
            life.said = Some(Instant::now());
            self.screen.say(&format!("{sentence}; it is started again"));
        }
        Ok(ending)
    }

    /// Asks the fence of a backend that has just ended, and waits a moment for it to know.
    fn ask_after_death(&mut self, device: usize) {
        for _ in 0..NOTICE_LOOKS {
            let socket = &self.commands.devices[device].status_socket;
            let Ok(answer) = status::ask(socket, STATUS_PATIENCE) else { return };
            let knows = !answer.has_backend();
            self.lives[device].status = Some(answer);
            if knows {
                return;
            }
            std::thread::sleep(NOTICE_LOOK);
        }
    }

    /// Whether a backend that is gone is started again, or its death ends the run.
    fn again_or_not(&mut self, device: usize, death: impl FnOnce() -> Death) -> Option<Ending> {
        let life = &mut self.lives[device];
        let now = Instant::now();
        match life.restarts.died(life.completed(), now) {
            Next::StartAfter(pause) => {
                life.backend = Standing::Due(now + pause);
                None
            }
            Next::GiveUp => Some(Ending::Died(death().and(&life.restarts.in_words()))),
        }
    }

    /// When the next backend is to be started again, if one is.
    fn next_start(&self) -> Option<Instant> {
        let due = |life: &Life| match life.backend {
            Standing::Due(at) => Some(at),
            _ => None,
        };
        self.lives.iter().filter_map(due).min()
    }

    fn start_what_is_due(&mut self) -> anyhow::Result<Option<Ending>> {
        for device in 0..self.lives.len() {
            let Standing::Due(at) = self.lives[device].backend else { continue };
            if at <= Instant::now()
                && let Some(ending) = self.start_again(device)?
            {
                return Ok(Some(ending));
            }
        }
        Ok(None)
    }

    fn start_again(&mut self, device: usize) -> anyhow::Result<Option<Ending>> {
        let commands = &self.commands.devices[device];
        let Some(command) = &commands.backend else { return Ok(None) };
        // It cannot listen where its predecessor's socket still is. If something else is there, it
        // says so itself.
        let _ = std::fs::remove_file(&commands.backend_socket);
        let spec = command.spec();
        let (who, by_hand) = (spec.name.clone(), spec.command_line());
        match self.crew.hire(spec, Role::Backend(device)) {
            Ok(jail) => {
                let life = &mut self.lives[device];
                if jail != life.jail {
                    self.screen.show_jail(&format!("backend of {}", commands.name), jail.as_ref());
                }
                life.jail = jail;
                life.started_again += 1;
                life.restarts.started();
                life.backend = Standing::Rising(Instant::now());
                Ok(None)
            }
            // What is required and is not there will not be there the next time.
            Err(Failure::Refused(refusal)) => Err(refusal.into()),
            Err(Failure::Faulted(fault)) => {
                let how = format!("could not be started again: {fault}: {}", fault.io_error());
                let command = Some(by_hand);
                let death = || Death { who, how, last_words: Vec::new(), command };
                Ok(self.again_or_not(device, death))
            }
        }
    }
}

/// Asks every fence how it is. One that does not answer keeps its last answer.
pub(super) fn look(commands: &Commands, screen: &Screen, lives: &mut [Life]) {
    for (index, device) in commands.devices.iter().enumerate() {
        if let Ok(answer) = status::ask(&device.status_socket, STATUS_PATIENCE) {
            screen.show(index, &answer);
            lives[index].status = Some(answer);
        }
    }
}
