//! Numbers that are compared from change to change: a boot as a count of instructions.

use crate::device::Device;

#[test]
fn a_boot_is_counted_in_instructions() {
    let mut device = Device::hello("counted");
    device.machine.counted = true;
    let on = device.on();
    let line = on.says("first answer", crate::device::BOOT * 5);
    println!("{line}");
}
