//! `explain EPERM`: what the kernel may mean by an error number when a function is taken through VFIO
//! or iommufd.

use ringfence_device::errno::{CALLS, Call, ERRORS, causes};
use rustix::io::Errno;
use serde::Serialize;

use super::explain::wrap;

/// What one call may mean by one error number, as published.
#[derive(Serialize)]
pub(super) struct Entry {
    error: &'static str,
    number: i32,
    call: String,
    causes: Vec<OneCause>,
}

#[derive(Serialize)]
struct OneCause {
    sentence: &'static str,
    remedy: &'static str,
}

/// The error number somebody typed by its name: `EPERM`, `eperm`.
pub(super) fn find(text: &str) -> Option<(&'static str, Errno)> {
    let upper = text.trim().to_ascii_uppercase();
    ERRORS.iter().find(|(name, _)| *name == upper).copied()
}

/// All that one error number may mean, or, without one, any.
pub(super) fn entries(error: Option<Errno>) -> Vec<Entry> {
    let asked = ERRORS.iter().filter(|(_, errno)| error.is_none_or(|error| error == *errno));
    asked
        .flat_map(|(name, errno)| answering(*errno).map(|call| entry(name, *errno, call)))
        .collect()
}

/// The calls that are known to answer this.
fn answering(errno: Errno) -> impl Iterator<Item = Call> {
    CALLS.iter().copied().filter(move |call| !causes(*call, errno).is_empty())
}

fn entry(error: &'static str, errno: Errno, call: Call) -> Entry {
    let cause = |cause: &ringfence_device::errno::Cause| OneCause {
        sentence: cause.sentence,
        remedy: cause.remedy,
    };
    Entry {
        error,
        number: errno.raw_os_error(),
        call: call.to_string(),
        causes: causes(call, errno).iter().map(cause).collect(),
    }
}

/// For people: each call with its causes, the likeliest first.
pub(super) fn page(name: &str, errno: Errno) -> String {
    let mut text = format!(
        "{name} ({}) when a function is taken through VFIO or iommufd, likeliest cause first\n",
        errno.raw_os_error()
    );
    for call in answering(errno) {
        text.push_str(&format!("\n{call}\n"));
        for cause in causes(call, errno) {
            let words = wrap(&format!("{} {}", cause.sentence, cause.remedy));
            text.push_str(&format!("  - {}\n", words.replace('\n', "\n    ")));
        }
    }
    text
}

/// A line for each error number: who answers it.
pub(super) fn list() -> String {
    let line = |(name, errno): &(&str, Errno)| {
        let calls: Vec<String> = answering(*errno).map(|call| call.to_string()).collect();
        format!("{name}  from {}\n", calls.join("; "))
    };
    ERRORS.iter().map(line).collect()
}
