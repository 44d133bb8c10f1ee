//! Groups by every model: against real kernels, on hand-made hosts, and on random trees.

mod builder;
mod data;
mod gaps;
mod made;
mod oracle;
mod random;
mod real;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

/// Tests by their paths.
macro_rules! tests {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn())),*]
    };
}

/// Tests on data that is not everywhere.
const WITH_DATA: &[(&str, fn())] = tests![
    oracle::linux_as_captured,
    real::linux_on_real_machines,
    real::power_differs_as_said,
    real::every_function_has_a_why,
];

/// Tests that need nothing.
const ALONE: &[(&str, fn())] = tests![
    gaps::u1_switch_ports,
    gaps::u2_asymmetric_siblings,
    gaps::u3_root_ports,
    gaps::u4_changed_afterwards,
    gaps::u5_override,
    gaps::u6_virtual_functions,
    gaps::u7_conventional_bridge,
    gaps::policies_join_what_registers_part,
    made::vendors_are_believed_by_linux_alone,
    made::vendors_deny_what_registers_show,
    made::sunrise_point_has_a_double_word,
    made::amd_southbridge_needs_an_amd_iommu,
    made::source_validation_that_is_broken_is_done_without_in_7_3,
    made::aliases_join_what_nothing_parts,
    made::vmd_domains_translate_as_the_endpoint,
    made::keys_stay_when_bus_numbers_go,
    made::the_change_that_parts_is_tried,
    made::a_free_slot_parts_what_no_register_can,
    made::changes_that_cannot_be_made_say_so,
    made::what_was_not_read_isolates_nothing,
    made::diff_says_because_of_what,
    made::providers_speak_each_for_their_own,
    made::the_iommu_itself_has_no_group,
    random::models_keep_their_order,
    random::offered_changes_part,
];

fn main() -> ExitCode {
    let with_data = WITH_DATA.iter().map(|&(name, run)| {
        Trial::ignorable_test(name, move || {
            if data::topologies().is_none() {
                return Ok(Completion::ignored_with("no ../shared/data/topology here"));
            }
            run();
            Ok(Completion::Completed)
        })
    });
    let alone = ALONE.iter().map(|&(name, run)| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), with_data.chain(alone).collect()).exit_code()
}
