//! Which system calls a boxed process may make (seccomp).
//!
//! A refused call answers `EPERM`, as if the user lacked the right: programs are used to that.
//! `clone3` answers `ENOSYS`: its flags are in memory, where a filter cannot look, and the C library
//! then uses `clone`, whose flags are in a register. Calls for another architecture than the one
//! the program was built for end the process.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::profile::{Calls, Profile};
use crate::report::{Protection, Report};

mod dangerous;
mod few;

/// The calls of the x32 architecture are those of x86-64 with this bit set, and pass for them.
const X32: i64 = 0x4000_0000;

/// A call, and when the rule for it applies: always, or if one of the conditions is true.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Takes from this thread, and the threads and processes it starts, the calls it does not need.
/// There is no way back.
pub(crate) fn restrict(profile: &Profile, report: &mut Report) {
    if !profile.wanted.contains(&Protection::SystemCalls) {
        return;
    }
    let outcome = programs(profile.calls).and_then(|programs| {
        programs.iter().try_for_each(|program| apply_filter(program).map_err(text))
    });
    match outcome {
        Ok(()) => report.held(Protection::SystemCalls),
        Err(reason) => report.lacks(Protection::SystemCalls, reason),
    }
}

/// The filters for `calls`, to be applied in this order.
fn programs(calls: Calls) -> Result<[BpfProgram; 2], String> {
    let unknowable = [(libc::SYS_clone3, Vec::new())].into();
    let first = program(
        with_x32(unknowable),
        SeccompAction::Allow,
        SeccompAction::Errno(number(libc::ENOSYS)),
    )?;
    let refusal = SeccompAction::Errno(number(libc::EPERM));
    let second = match calls {
        Calls::AllButDangerous => {
            program(with_x32(dangerous::rules()?), SeccompAction::Allow, refusal)
        }
        Calls::Few => {
            let mut rules = few::rules()?;
            // The other filter answers for it.
            rules.insert(libc::SYS_clone3, Vec::new());
            program(rules, refusal, SeccompAction::Allow)
        }
    }?;
    Ok([first, second])
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, String> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(text)?;
    let filter = SeccompFilter::new(rules, otherwise, matching, architecture).map_err(text)?;
    BpfProgram::try_from(filter).map_err(text)
}

/// The same rules for the other names that calls have.
fn with_x32(mut rules: Rules) -> Rules {
    if cfg!(target_arch = "x86_64") {
        let twins: Vec<_> =
            rules.iter().map(|(call, conditions)| (call | X32, conditions.clone())).collect();
        rules.extend(twins);
    }
    rules
}

/// If all bits of `mask` in the argument are those of `value`.
fn argument(index: u8, mask: u64, value: u64) -> Result<SeccompRule, String> {
    let operator = SeccompCmpOp::MaskedEq(mask);
    let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value);
    SeccompRule::new(vec![condition.map_err(text)?]).map_err(text)
}

/// If the argument is `value`.
fn argument_is(index: u8, value: u64) -> Result<SeccompRule, String> {
    argument(index, u64::from(u32::MAX), value)
}

fn number(errno: i32) -> u32 {
    errno.unsigned_abs()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_compile_and_fit() {
        for calls in [Calls::AllButDangerous, Calls::Few] {
            let programs = programs(calls).expect("they compile");
            assert!(programs.iter().all(|program| program.len() < 4096), "{calls:?}");
        }
    }

    #[test]
    fn a_fence_may_make_no_call_that_opens_or_starts_anything() {
        let rules = few::rules().expect("they are well formed");
        let never = [
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_kill,
            libc::SYS_unlinkat,
            libc::SYS_bind,
            libc::SYS_io_uring_setup,
        ];
        assert!(never.iter().all(|call| !rules.contains_key(call)));
        let dangerous = dangerous::rules().expect("they are well formed");
        let both: Vec<_> = dangerous
            .iter()
            // A call with conditions in both is allowed in part.
            .filter(|(call, conditions)| conditions.is_empty() && rules.contains_key(call))
            .collect();
        assert!(both.is_empty(), "{both:?}");
    }
}
