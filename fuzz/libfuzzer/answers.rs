//! Runs [`hearth_fuzz::answers`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::answers::run(bytes));
