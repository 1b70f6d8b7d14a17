//! Drives [`hearth_fuzz::answers`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::answers::run(bytes));
