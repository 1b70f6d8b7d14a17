//! Runs [`hearth_fuzz::identity`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::identity::run(bytes));
