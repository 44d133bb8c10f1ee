//! The target `vfio_user_server` of `ringfence_vfio_user::fuzzing`, for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfence_vfio_user::fuzzing::run_target(
    "vfio_user_server",
    data
));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("this program runs under a fuzzer: cargo xtask fuzz vfio_user_server");
    std::process::exit(2);
}
