//! Runs [`hearth_fuzz::requests`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::requests::run(bytes));
