//! The attack suite, with the appliance's own kernel, root file system and sandbox rules.

use std::time::Duration;

use crate::device::Device;

#[test]
fn nothing_that_a_worker_tries_can_be_done_on_a_device() {
    let mut device = Device::hello("attacks");
    // Outside of a worker, an allocation of 1.2 GiB must succeed.
    device.machine.memory = 2048;
    let on = device.boot();
    on.order(&["loosen"]);
    let words = [
        "run",
        "/bin/tests/attacks",
        "--test-threads",
        "1",
        "--nocapture",
    ];
    let told = on.order_within(&words, Duration::from_secs(300));
    assert!(told.ends_with("exit 0\n"), "{told}");
    println!("{told}");
}
