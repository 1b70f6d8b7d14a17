//! Runs [`hearth_fuzz::disks`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::disks::run(bytes));
