//! The target `vmm_frames` of `ringfence_virtio::fuzzing`, for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfence_virtio::fuzzing::run("vmm_frames", data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("this program runs under a fuzzer: cargo xtask fuzz vmm_frames");
    std::process::exit(2);
}
