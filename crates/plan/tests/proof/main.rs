//! Planner and checker against each other, against a model in pages, and on real machines' tables.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bitmap;
mod corrupt;
mod machines;
mod model;
mod random;
mod strategy;
mod told;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

fn main() -> ExitCode {
    let made: &[(&str, fn())] = &[
        ("random::plans_are_accepted_by_checker_and_model", random::plans_are_accepted),
        ("random::an_irrelevant_change_moves_nothing", random::irrelevant_changes_move_nothing),
        ("random::no_corruption_survives", random::no_corruption_survives),
        ("random::ten_thousand_regions_are_planned", random::many_regions_are_planned),
    ];
    let of_data: &[(&str, fn())] = &[
        ("machines::every_table_has_a_checked_answer", machines::every_table_has_an_answer),
        ("machines::graphics_meets_memory_as_counted", machines::graphics_meets_memory),
    ];
    let made = made.iter().map(|&(name, run)| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    });
    let of_data = of_data.iter().map(|&(name, run)| {
        Trial::ignorable_test(name, move || {
            if !machines::folder().is_dir() {
                return Ok(Completion::ignored_with("no ../shared/data/acpi here"));
            }
            run();
            Ok(Completion::Completed)
        })
    });
    libtest_mimic::run(&Arguments::from_args(), made.chain(of_data).collect()).exit_code()
}
