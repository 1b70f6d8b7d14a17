//! Runs [`hearth_fuzz::heads`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::heads::run(bytes));
