//! A number that is compared from change to change: the instructions that a boot takes.

use crate::device::{BOOT, Device};

/// The time limit from init's first instruction to the platform's first response over TLS. Each instruction counts as
/// one nanosecond.
const MOST_MILLIS: u64 = 1000;

#[test]
fn a_boot_is_counted_in_instructions() {
    let mut device = Device::hello("counted");
    device.machine.counted = true;
    let on = device.on();
    // `[    2.972426] hearth-init: the platform is ready (904 ms after init)`: the platform is ready when it has
    // answered a request over TLS.
    let line = on.says("the platform is ready (", BOOT * 5);
    println!("counted: {line}");
    let (_, rest) = line.split_once("ready (").unwrap();
    let millis: u64 = rest.split(' ').next().unwrap().parse().unwrap();
    assert!(millis < MOST_MILLIS, "{line}");
}
