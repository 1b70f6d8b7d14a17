//! Drives [`hearth_fuzz::requests`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::requests::run(bytes));
