//! The target `guest_rings` of `ringfence_virtio::fuzzing`, for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfence_virtio::fuzzing::run("guest_rings", data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("this program runs under a fuzzer: cargo xtask fuzz guest_rings");
    std::process::exit(2);
}
