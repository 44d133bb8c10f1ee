//! Readers over hosts that nobody here made.

mod captures;
mod data;
mod listings;
mod mutations;
mod odd_trees;
mod trees;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

fn main() -> ExitCode {
    let cases: &[(&'static str, fn())] = &[
        ("captures::every_capture_with_functions_parses", captures::every_capture_parses),
        ("captures::virtual_functions_know_theirs", captures::virtual_functions_know_theirs),
        ("listings::every_listing_parses", listings::every_listing_parses),
        ("listings::words_and_registers_agree", listings::words_and_registers_agree),
        ("trees::a_tree_says_what_its_capture_says", trees::a_tree_says_what_its_capture_says),
        (
            "trees::a_snapshot_reads_back_as_what_was_read",
            trees::a_snapshot_reads_back_as_what_was_read,
        ),
        ("trees::sources_are_told_apart", trees::sources_are_told_apart),
        ("trees::sleepers_are_left_asleep", trees::sleepers_are_left_asleep),
        ("trees::serial_numbers_stay_behind", trees::serial_numbers_stay_behind),
        ("trees::odd_files_leave_facts_unknown", trees::odd_files_leave_facts_unknown),
        ("odd_trees::every_name_may_be_anything", odd_trees::every_name_may_be_anything),
        ("mutations::any_change_is_read_or_refused", mutations::any_change_is_read_or_refused),
    ];
    let live = Trial::ignorable_test("trees::the_live_host_and_its_snapshot_agree", || {
        Ok(trees::the_live_host_and_its_snapshot_agree())
    });
    let trials = cases
        .iter()
        .map(|&(name, run)| {
            Trial::ignorable_test(name, move || {
                if !data::root().is_dir() {
                    return Ok(data::skipped());
                }
                run();
                Ok(Completion::Completed)
            })
        })
        .chain([live])
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
