//! Runs [`hearth_fuzz::autoboot`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::autoboot::run(bytes));
