//! Runs [`hearth_fuzz::uki`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::uki::run(bytes));
