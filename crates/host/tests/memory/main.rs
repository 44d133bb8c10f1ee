//! Reserved and stolen memory of hosts that nobody here made.

mod data;
mod lists;
mod mutations;
mod registers;
mod tables;
mod tree;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

fn main() -> ExitCode {
    let of_data: &[(&'static str, fn())] = &[
        ("tables::every_table_alone_is_a_host", tables::every_table_alone_is_a_host),
        (
            "tables::what_is_told_is_what_linux_makes_of_it",
            tables::what_is_told_is_what_linux_makes,
        ),
        ("lists::real_lists_are_read", lists::real_lists_are_read),
        ("registers::published_registers_agree", registers::published_registers_agree),
        ("registers::graphics_of_real_machines_is_found", registers::graphics_is_found),
    ];
    let made: &[(&'static str, fn())] = &[
        ("registers::a_snapshot_has_what_planning_takes", registers::a_snapshot_has_it),
        ("mutations::any_host_has_some_memory", mutations::any_host_has_some_memory),
        ("mutations::a_large_table_takes_no_time", mutations::a_large_table_takes_no_time),
    ];
    let of_data = of_data.iter().map(|&(name, run)| {
        Trial::ignorable_test(name, move || {
            if !data::root().is_dir() {
                return Ok(data::skipped());
            }
            run();
            Ok(Completion::Completed)
        })
    });
    let made = made.iter().map(|&(name, run)| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), of_data.chain(made).collect()).exit_code()
}
