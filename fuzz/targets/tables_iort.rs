//! The target `tables_iort` of `ringfence_tables`, for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfence_tables::run_target("tables_iort", data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("this program runs under a fuzzer: cargo xtask fuzz tables_iort");
    std::process::exit(2);
}
