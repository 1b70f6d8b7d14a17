//! Runs [`hearth_fuzz::sparse`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::sparse::run(bytes));
