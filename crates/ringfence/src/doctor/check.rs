//! One check and how it came out.

use ringfence_refusal::{Code, Refusal};

/// How a check came out, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    Pass,
    Warn,
    Fail,
}

impl Status {
    /// In JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// Something that was looked at.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) code: &'static Code,
    pub(crate) status: Status,
    /// What it is about: a function, the VM, the host.
    pub(crate) subject: String,
    /// What was found, with the numbers.
    pub(crate) finding: String,
    /// What to do; nothing where there is nothing to be done.
    pub(crate) remedy: Option<String>,
}

impl Check {
    fn new(
        status: Status,
        code: &'static Code,
        subject: impl ToString,
        finding: impl Into<String>,
    ) -> Self {
        let remedy = (status != Status::Pass).then(|| code.remedy.to_owned());
        Self { code, status, subject: subject.to_string(), finding: finding.into(), remedy }
    }

    pub(crate) fn pass(
        code: &'static Code,
        subject: impl ToString,
        finding: impl Into<String>,
    ) -> Self {
        Self::new(Status::Pass, code, subject, finding)
    }

    pub(crate) fn warn(
        code: &'static Code,
        subject: impl ToString,
        finding: impl Into<String>,
    ) -> Self {
        Self::new(Status::Warn, code, subject, finding)
    }

    pub(crate) fn fail(
        code: &'static Code,
        subject: impl ToString,
        finding: impl Into<String>,
    ) -> Self {
        Self::new(Status::Fail, code, subject, finding)
    }

    /// A refusal that is certain.
    pub(crate) fn refused(subject: impl ToString, refusal: &Refusal) -> Self {
        Self::fail(
            refusal.code(),
            subject,
            format!("{}: {}", refusal.code().name, refusal.detail()),
        )
    }

    /// The same, with a remedy that fits it better than the code's own.
    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}
