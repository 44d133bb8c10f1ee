//! Tables of real machines, and odd ones that a real kernel was booted with.

mod data;
mod kernel;
mod machines;
mod mutations;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

fn main() -> ExitCode {
    let cases: &[(&str, &str, fn())] = &[
        ("machines::every_table_is_read_and_written_back", "acpi", machines::round_trip),
        ("machines::a_naive_count_agrees", "acpi", machines::naive_count),
        ("machines::what_is_known_of_the_corpus_holds", "acpi", machines::statistics),
        ("machines::findings_stay_where_they_belong", "acpi", machines::findings),
        ("mutations::any_change_is_read_and_written_back", "acpi", mutations::any_change),
        ("kernel::linux_lists_what_was_predicted_of_odd_dmar", "acpi-lab", kernel::odd_dmar),
        ("kernel::linux_lists_what_was_predicted_of_ivrs", "acpi-lab", kernel::ivrs),
        ("kernel::linux_lists_what_was_predicted_of_iort", "acpi-lab", kernel::iort),
        ("kernel::what_linux_complained_about_is_found", "acpi-lab", kernel::complaints),
    ];
    let trials = cases.iter().map(|&(name, folder, run)| {
        Trial::ignorable_test(name, move || {
            if !data::folder(folder).is_dir() {
                return Ok(data::skipped(folder));
            }
            run();
            Ok(Completion::Completed)
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
