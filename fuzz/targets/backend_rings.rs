//! The target `backend_rings` of `ringfence_virtio::fuzzing`, for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfence_virtio::fuzzing::run("backend_rings", data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("this program runs under a fuzzer: cargo xtask fuzz backend_rings");
    std::process::exit(2);
}
