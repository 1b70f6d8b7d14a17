//! Runs [`hearth_fuzz::manifest`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::manifest::run(bytes));
