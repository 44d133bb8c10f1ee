//! What a fuzzer runs: each reader over any bytes, which must end with a value or a refusal.

use ringfence_addr::PciAddress;

use crate::function::Function;

use super::registers::{ConfigBytes, Gap};
use super::{Snapshot, capture, describe, lspci};

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("host_config_space", config_space),
    ("host_lspci", |bytes| _ = lspci(bytes)),
    ("host_snapshot", |bytes| {
        _ = Snapshot::from_text(String::from_utf8_lossy(bytes).into_owned()).read();
    }),
    ("host_capture", |bytes| _ = capture(bytes)),
];

/// Runs the target of this name, as fuzzers do.
///
/// # Panics
///
/// There is none, or it panics, which it must not.
pub fn run_target(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(each, _)| *each == name);
    found.unwrap_or_else(|| panic!("there is no target `{name}`")).1(bytes);
}

fn config_space(bytes: &[u8]) {
    let mut function = Function::new(PciAddress::from_requester_id(0, 0));
    describe(&mut function, &mut ConfigBytes::new(bytes, Gap::End));
    describe(&mut function, &mut ConfigBytes::of_file(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_end_in_a_value_or_a_refusal(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            for (_, target) in TARGETS {
                target(&bytes);
            }
        }
    }
}
