//! The codes `RF0500`–`RF0549`: why a process was not put into its box.

use ringfence_refusal::Code;

/// Every code of this crate.
pub static CATALOGUE: &[&Code] = &[&PROTECTION_MISSING, &GRANT_NOT_THERE];

/// A protection that was required cannot be had.
pub static PROTECTION_MISSING: Code = Code {
    number: 501,
    name: "a required protection is missing",
    sentence: "The jail was required to hold something that this host could not give.",
    remedy: "Give what the detail names (for namespaces: user.max_user_namespaces and the like; for \
             Landlock: Linux 6.12 with `landlock` among the LSMs), or do not require the jail.",
    page: "A backend and its fence run in a jail made of several protections. Usually what the host \
           cannot give is said at start and done without, since the others still hold. With \
           `jail_require = true`, or `fence --jail require`, a missing one is a reason not to \
           begin. The detail names each and what the host answered. With `fence --jail verify` somebody \
           else made the jail, such as a systemd unit: what is missing is for its maker to add \
           (`docs/jail.md` has a unit).",
};

/// A path that was to be given is not there.
pub static GRANT_NOT_THERE: Code = Code {
    number: 502,
    name: "a path to grant is not there",
    sentence: "A path that a jailed process is to be given does not exist.",
    remedy: "Make it first, correct the path, or grant the folder it is to be made in.",
    page: "In its jail a process sees no path but those it was given. What does not exist cannot be \
           given: a file that the process is to make itself needs its folder granted. `readable` and \
           `writable` in a VM's configuration name such paths; a fence is given the folder of its \
           backend's socket.",
};
