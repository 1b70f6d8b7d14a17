//! Drives [`hearth_fuzz::uki`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::uki::run(bytes));
