//! Errors and answers in the words of a report.

use std::fmt;

use ringfence_addr::{Gpa, Iova, Span};
use ringfence_iommu::Reached;
use ringfence_ledger::{Holder, Retirement};
use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::io::Errno;

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;

/// All of what failed.
pub(crate) fn failed(failure: Failure) -> String {
    match &failure {
        Failure::Refused(refusal) => refusal.to_string(),
        Failure::Faulted(fault) => faulted(fault),
    }
}

pub(crate) fn faulted(fault: &Fault) -> String {
    format!("{fault}: {}", fault.io_error())
}

pub(crate) fn refused(refusal: Refusal) -> String {
    refusal.to_string()
}

/// The code of a refusal, or everything of a fault.
pub(crate) fn code<T>(outcome: Result<T, Failure>) -> String {
    match outcome {
        Ok(_) => "done".to_owned(),
        Err(Failure::Refused(refusal)) => refusal.code().to_string(),
        Err(Failure::Faulted(fault)) => faulted(&fault),
    }
}

/// What the kernel says to a call of ours.
pub(crate) fn kernel<T: fmt::Display>(outcome: Result<T, Errno>) -> String {
    match outcome {
        Ok(said) => said.to_string(),
        Err(errno) => format!("error {}", errno.raw_os_error()),
    }
}

/// What came of an unmapping.
pub(crate) fn reached(outcome: Result<Reached, Failure>) -> String {
    match outcome {
        Ok(Reached::No) => "gone".to_owned(),
        Ok(Reached::StillShared) => "still shared".to_owned(),
        Ok(Reached::Unknown) => "unknown".to_owned(),
        Err(failure) => failed(failure),
    }
}

/// What an owner hears who wants memory back, and of whom.
pub(crate) fn retirement(answer: &Retirement) -> String {
    let named = |holders: &[Holder]| {
        let names: Vec<String> = holders.iter().map(Holder::to_string).collect();
        names.join(", ")
    };
    match answer {
        Retirement::Free => "free".to_owned(),
        Retirement::Busy(holders) => format!("busy with {}", named(holders)),
        Retirement::Revoking(holders) => format!("asked of {}", named(holders)),
    }
}

/// Pages of an owner's memory, by number.
pub(crate) fn gpa(first: u64, count: u64) -> Span<Gpa> {
    Span::from_parts(Gpa::new(first * PAGE), count * PAGE).expect("the memory is small")
}

/// Pages of bus addresses, by number.
pub(crate) fn bus(first: u64, count: u64) -> Span<Iova> {
    Span::from_parts(Iova::new(first * PAGE), count * PAGE).expect("low pages")
}
