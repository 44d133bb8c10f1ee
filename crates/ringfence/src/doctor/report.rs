//! Checks as JSON.

use serde::Serialize;

use super::check::{Check, Status};

/// `ringfence.doctor/1`.
#[derive(Serialize)]
pub(crate) struct Answer<'a> {
    schema: &'static str,
    verdict: &'static str,
    vm: Option<&'a str>,
    checks: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    code: String,
    status: &'static str,
    subject: &'a str,
    finding: &'a str,
    remedy: Option<&'a str>,
}

/// The worst there is.
pub(crate) fn verdict(checks: &[Check]) -> Status {
    checks.iter().map(|check| check.status).max().unwrap_or(Status::Pass)
}

impl<'a> Answer<'a> {
    pub(crate) fn new(vm: Option<&'a str>, checks: &'a [Check]) -> Self {
        let entry = |check: &'a Check| Entry {
            code: check.code.to_string(),
            status: check.status.name(),
            subject: &check.subject,
            finding: &check.finding,
            remedy: check.remedy.as_deref(),
        };
        Self {
            schema: "ringfence.doctor/1",
            verdict: verdict(checks).name(),
            vm,
            checks: checks.iter().map(entry).collect(),
        }
    }
}
