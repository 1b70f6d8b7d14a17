//! Drives [`hearth_fuzz::kits`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::kits::run(bytes));
