//! How Ringfence says no.
//!
//! There are two ways for something not to happen. A [`Refusal`] is policy or a check saying no to
//! a claim: normal, expected, with a stable code, the numbers that decided it and a remedy. A
//! [`Fault`] is the environment failing: an operation on an object, and the system's error. A bug
//! is neither: it asserts and aborts.
//!
//! Every crate owns a range of codes and lists them in a catalogue of its own (`refusals.rs`,
//! `CATALOGUE`). Codes are never reused. The program joins the catalogues for `explain`.
//!
//! | range | crate |
//! | --- | --- |
//! | `RF0100`–`RF0199` | `ledger` |
//! | `RF0200`–`RF0299` | `virtio` |
//! | `RF0300`–`RF0399` | `vmm` |
//! | `RF0400`–`RF0499` | `ringfence` (configuration and verbs) |
//! | `RF0500`–`RF0549` | `jail` |
//! | `RF0600`–`RF0699` | `host` |
//! | `RF0700`–`RF0799` | `device` |
//! | `RF0800`–`RF0849` | `plan` |
//! | `RF0850`–`RF0899` | `tables` |
//! | `RF0900`–`RF0949` | `iommu` |
//! | `RF1001`–`RF1049` | `vfio-user` |

use std::borrow::Cow;
use std::fmt;

/// One way of saying no, as it stands in a crate's catalogue.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The stable number; `101` prints as `RF0101`.
    pub number: u16,
    /// A few words for tables and logs, lower case.
    pub name: &'static str,
    /// What was refused and why, in one sentence.
    pub sentence: &'static str,
    /// What the reader can do about it, in one sentence.
    pub remedy: &'static str,
    /// A paragraph or two for `ringfence explain`.
    pub page: &'static str,
}

/// Makes the entries of a catalogue: `NAME = 801, "a few words": "Sentence."; "Remedy."; "Page.";`.
#[macro_export]
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $short:literal: $sentence:literal; $remedy:literal; $page:literal;)*) => {
        $($(#[$doc])*
        pub static $name: $crate::Code = $crate::Code {
            number: $number, name: $short, sentence: $sentence, remedy: $remedy, page: $page,
        };)*
    };
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RF{:04}", self.number)
    }
}

/// A claim or a request that was checked and refused.
///
/// Prints as `RF0101 outside the owner's memory: queue 0 chain 7: 0x1000-0x1fff`; the remedy is
/// for the layer that talks to people.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal {
    code: &'static Code,
    detail: Cow<'static, str>,
}

impl Refusal {
    /// Refuses with `code`; `detail` names the thing and the numbers.
    pub fn new(code: &'static Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// The entry of the catalogue this refusal is an instance of.
    pub fn code(&self) -> &'static Code {
        self.code
    }

    /// The thing that was refused and the numbers that decided it.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What the reader can do about it.
    pub fn remedy(&self) -> &'static str {
        self.code.remedy
    }

    /// The same refusal with where it happened put in front of the detail.
    #[must_use]
    pub fn within(self, place: impl fmt::Display) -> Self {
        Self { code: self.code, detail: format!("{place}: {}", self.detail).into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.code, self.code.name)?;
        if !self.detail.is_empty() {
            write!(formatter, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for Refusal {}

/// The environment failed: what was being done, to what, and what the system said.
#[derive(Debug)]
pub struct Fault {
    operation: &'static str,
    object: String,
    source: std::io::Error,
}

impl Fault {
    /// `operation` is a verb phrase ("map", "connect to"), `object` what it was done to.
    pub fn new(
        operation: &'static str,
        object: impl Into<String>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self { operation, object: object.into(), source: source.into() }
    }

    /// The same, saying whom it concerns.
    #[must_use]
    pub fn concerning(mut self, whom: impl fmt::Display) -> Self {
        self.object = format!("{} ({whom})", self.object);
        self
    }

    /// What the system said.
    pub fn io_error(&self) -> &std::io::Error {
        &self.source
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot {} {}", self.operation, self.object)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Either way of not happening, for functions that check and act.
#[derive(Debug)]
pub enum Failure {
    /// Checked, and the answer is no.
    Refused(Refusal),
    /// The environment failed.
    Faulted(Fault),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Faulted(fault)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(formatter),
            Self::Faulted(fault) => fault.fmt(formatter),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Faulted(fault) => std::error::Error::source(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static EXAMPLE: Code = Code {
        number: 7,
        name: "an example",
        sentence: "An example was refused.",
        remedy: "Do not use examples.",
        page: "",
    };

    #[test]
    fn a_refusal_prints_its_code_its_name_and_the_numbers() {
        let refusal = Refusal::new(&EXAMPLE, "0x1000-0x1fff").within("queue 0");
        assert_eq!(refusal.to_string(), "RF0007 an example: queue 0: 0x1000-0x1fff");
        assert_eq!(refusal.remedy(), "Do not use examples.");
    }

    #[test]
    fn a_fault_keeps_what_the_system_said_as_its_source() {
        let fault = Fault::new("open", "/nowhere", std::io::Error::from_raw_os_error(2));
        assert_eq!(fault.to_string(), "cannot open /nowhere");
        let source = std::error::Error::source(&fault).expect("a fault has a source");
        assert!(source.to_string().contains("No such file"));
    }
}
