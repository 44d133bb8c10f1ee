//! Giving up capabilities, and every way to get one back.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities,
    capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits,
};

use crate::profile::Profile;
use crate::report::{Protection, Report};

/// What making a box takes, in a user namespace of one's own.
const TO_MAKE_A_BOX: [CapabilitySet; 2] = [CapabilitySet::SYS_ADMIN, CapabilitySet::SETPCAP];

/// Whether this process may make namespaces by itself.
pub(crate) fn may_administer() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Lets the capabilities of a fresh user namespace outlive the next exec.
pub(crate) fn carry_over_exec() -> Result<(), Errno> {
    let mut sets = capabilities(None)?;
    for capability in TO_MAKE_A_BOX {
        sets.inheritable |= capability;
    }
    set_capabilities(None, sets)?;
    TO_MAKE_A_BOX
        .into_iter()
        .try_for_each(|capability| configure_capability_in_ambient_set(capability, true))
}

/// Gives up what `profile` does not keep.
pub(crate) fn drop_all(profile: &Profile, report: &mut Report) {
    if !profile.wanted.contains(&Protection::Capabilities) {
        return;
    }
    match try_drop_all(profile.keeps_file_override) {
        Ok(kept) if kept.is_empty() => report.held(Protection::Capabilities),
        Ok(kept) => report.held_but(Protection::Capabilities, format!("keeps {}", names(kept))),
        Err(errno) => report.lacks(Protection::Capabilities, errno.to_string()),
    }
}

fn try_drop_all(keeps_file_override: bool) -> Result<CapabilitySet, Errno> {
    let before = capabilities(None)?;
    let kept = match keeps_file_override {
        true => before.permitted & CapabilitySet::DAC_OVERRIDE,
        false => CapabilitySet::empty(),
    };
    clear_ambient_capability_set()?;
    // Without this one nothing more can be taken, and with no_new_privs nothing is gained either.
    if before.effective.contains(CapabilitySet::SETPCAP) {
        for number in 0..u64::BITS {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            match capability_is_in_bounding_set(capability) {
                Ok(true) => remove_capability_from_bounding_set(capability)?,
                Ok(false) => {}
                // The kernel knows no more.
                Err(_) => break,
            }
        }
        set_capabilities_secure_bits(
            CapabilitiesSecureBits::NO_ROOT
                | CapabilitiesSecureBits::NO_ROOT_LOCKED
                | CapabilitiesSecureBits::NO_SETUID_FIXUP
                | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
                | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
                | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
                | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
        )?;
    }
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?;
    Ok(kept)
}

/// The capabilities this process has.
pub(crate) fn present() -> Result<CapabilitySet, Errno> {
    capabilities(None).map(|sets| sets.permitted)
}

/// Their names, for people.
pub(crate) fn names(set: CapabilitySet) -> String {
    let names: Vec<_> = set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    names.join(" ")
}
