//! The target `host_snapshot` of `ringfence_host::read`, for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfence_host::read::run_target("host_snapshot", data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("this program runs under a fuzzer: cargo xtask fuzz host_snapshot");
    std::process::exit(2);
}
