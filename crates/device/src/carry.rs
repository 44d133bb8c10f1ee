//! Carrying out one step: look, write, look again.
//!
//! What is so already is not done again, so a step can be repeated after a crash that left it half
//! done. After each write the kernel is asked what came of it: it takes a probe that finds no driver
//! for a success.

use std::fs::File;
use std::path::Path;

use ringfence_addr::PciAddress;
use ringfence_refusal::{Failure, Fault, Refusal};

use crate::plan::Step;
use crate::refusals;
use crate::root::Root;
use crate::write::{WriteError, Writer};

/// The host, and the door to it.
#[derive(Clone, Copy)]
pub(crate) struct Carrier<'a> {
    pub(crate) root: &'a Root,
    pub(crate) writer: &'a dyn Writer,
    pub(crate) lock: &'a File,
}

impl Carrier<'_> {
    /// Makes so what the step says is to be so.
    pub(crate) fn carry_out(&self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Override { function, to } => self.set_override(*function, to.as_deref()),
            Step::Unbind { function, driver } => self.unbind(*function, driver),
            Step::Probe { function, driver } => {
                self.bind(*function, driver, &self.root.join("sys/bus/pci/drivers_probe"))
            }
            Step::Bind { function, driver } => {
                self.bind(*function, driver, &self.root.driver(driver).join("bind"))
            }
        }
    }

    fn set_override(&self, function: PciAddress, to: Option<&str>) -> Result<(), Failure> {
        if self.root.override_of(function)?.as_deref() == to {
            return Ok(());
        }
        let path = self.root.function(function).join("driver_override");
        // A line of nothing takes an override away: an empty write does not reach the kernel.
        let line = format!("{}\n", to.unwrap_or_default());
        self.write(&path, &line).map_err(|error| error.failure(function, "override"))?;
        let now = self.root.override_of(function)?;
        if now.as_deref() != to {
            let said = |driver: Option<&str>| driver.unwrap_or("nothing").to_string();
            let what = format!(
                "driver_override of {function} says {} after {} was written to it",
                said(now.as_deref()),
                said(to)
            );
            return Err(Refusal::new(&refusals::NOT_BOUND, what).into());
        }
        Ok(())
    }

    fn unbind(&self, function: PciAddress, driver: &str) -> Result<(), Failure> {
        match self.root.driver_of(function)?.as_deref() {
            None => return Ok(()),
            Some(now) if now == driver => {}
            Some(now) => return Err(foreign(function, driver, now).into()),
        }
        let path = self.root.driver(driver).join("unbind");
        let written = self.write(&path, &function.to_string());
        // While a driver is letting go, its link is gone already: that would look like success.
        if let Err(error) = written {
            return Err(error.failure(function, driver));
        }
        match self.root.driver_of(function)? {
            None => Ok(()),
            Some(now) => {
                let what = format!("{function} is bound to {now} still");
                Err(Refusal::new(&refusals::DRIVER_KEEPS, what).into())
            }
        }
    }

    fn bind(&self, function: PciAddress, driver: &str, through: &Path) -> Result<(), Failure> {
        match self.root.driver_of(function)?.as_deref() {
            None => {}
            Some(now) if now == driver => return Ok(()),
            Some(now) => return Err(foreign(function, driver, now).into()),
        }
        let written = self.write(through, &function.to_string());
        // While a driver is coming in, its link is there already.
        if let Err(error) = written {
            return Err(error.bind_failure(function, driver));
        }
        match self.root.driver_of(function)?.as_deref() {
            Some(now) if now == driver => Ok(()),
            Some(now) => Err(foreign(function, driver, now).into()),
            None => {
                let what =
                    format!("{driver} did not take {function}, and the kernel did not say why");
                Err(Refusal::new(&refusals::NOT_BOUND, what).into())
            }
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), WriteFailure> {
        let written = self.writer.write(path, text, self.lock);
        written.map_err(|error| WriteFailure { path: path.display().to_string(), error })
    }
}

/// A write that came to nothing.
struct WriteFailure {
    path: String,
    error: WriteError,
}

impl WriteFailure {
    fn failure(self, function: PciAddress, driver: &str) -> Failure {
        match self.error {
            WriteError::Failed(error) => Fault::new("write to", self.path, error).into(),
            WriteError::Blocked(patience) => {
                let seconds = patience.as_secs_f32();
                let what = format!("{function}: {driver} has not answered for {seconds} s");
                Refusal::new(&refusals::DRIVER_KEEPS, what).into()
            }
        }
    }

    /// Binding that fails is an answer of the driver's: it looked at the function and said no.
    fn bind_failure(self, function: PciAddress, driver: &str) -> Failure {
        match self.error {
            WriteError::Failed(error) => {
                let what = format!("{driver} did not take {function}: {error}");
                Refusal::new(&refusals::NOT_BOUND, what).into()
            }
            WriteError::Blocked(_) => self.failure(function, driver),
        }
    }
}

fn foreign(function: PciAddress, expected: &str, now: &str) -> Refusal {
    let what = format!("{function} is bound to {now}, which nobody asked for: not to {expected}");
    Refusal::new(&refusals::NOT_BOUND, what)
}
