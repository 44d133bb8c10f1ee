//! The target `tables_dmar` of `ringfence_tables`, for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfence_tables::run_target("tables_dmar", data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("this program runs under a fuzzer: cargo xtask fuzz tables_dmar");
    std::process::exit(2);
}
