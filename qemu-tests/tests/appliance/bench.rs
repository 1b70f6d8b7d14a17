//! Numbers that are compared from change to change: a boot as a count of instructions.

use crate::device::{BOOT, Device};

/// What a boot may take from init's first instruction to the platform's own first answer over TLS, where each
/// instruction takes a nanosecond.
const MOST_MILLIS: u64 = 1000;

#[test]
fn a_boot_is_counted_in_instructions() {
    let mut device = Device::hello("counted");
    device.machine.counted = true;
    let on = device.on();
    // `[    2.972426] hearth-init: the platform is ready (904 ms after init)`: it is when it has been asked, and
    // has answered, over TLS.
    let line = on.says("the platform is ready (", BOOT * 5);
    println!("counted: {line}");
    let (_, rest) = line.split_once("ready (").unwrap();
    let millis: u64 = rest.split(' ').next().unwrap().parse().unwrap();
    assert!(millis < MOST_MILLIS, "{line}");
}
