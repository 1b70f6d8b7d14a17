//! Runs [`hearth_fuzz::kits`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::kits::run(bytes));
