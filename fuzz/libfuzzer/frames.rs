//! Runs [`hearth_fuzz::frames`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::frames::run(bytes));
