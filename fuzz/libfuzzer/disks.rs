//! Drives [`hearth_fuzz::disks`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::disks::run(bytes));
