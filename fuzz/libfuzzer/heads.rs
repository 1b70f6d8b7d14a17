//! Drives [`hearth_fuzz::heads`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::heads::run(bytes));
