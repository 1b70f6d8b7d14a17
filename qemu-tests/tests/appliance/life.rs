//! The life of a device: it boots, serves, restarts processes that die, reboots, and is switched off.

use std::time::{Duration, Instant};

use hearth_qemu_tests::{Arch, timings};

use crate::device::{BOOT, Device};
use crate::lab::Lab;
use crate::wait;

/// Time limit for the return of a process that has died.
const BACK: Duration = Duration::from_secs(20);

#[test]
fn a_device_serves_over_tls_and_what_dies_in_it_comes_back() {
    // A reboot then goes through the firmware, as on a real device.
    let mut device = Device::hello("life").by_firmware();
    let mut on = device.boot();
    let boot = on.boot_told();
    assert_eq!(
        (&boot["slot"], &boot["trial"]),
        (&"a".into(), &false.into())
    );
    assert_eq!(boot["board"], Lab::get().board());
    // The first boot has grown the data partition, which has 10 MiB in the image.
    assert_eq!(boot["data"], "mounted");
    let data = boot["data_bytes"].as_u64().unwrap();
    assert!(data > 512 << 20, "{boot}");
    println!(
        "data: 10 MiB in the image, {} MiB after the first boot",
        data >> 20
    );
    // The amount of unwritten data is bounded.
    assert_eq!(
        on.order(&["read", "/proc/sys/vm/dirty_bytes"]),
        "33554432\n"
    );
    // The device also answers over plain HTTP, with the same worker.
    assert!(on.get("http", "/").unwrap().contains("hello"));
    let seen = on.run(&["/bin/hearth-itself", "device"]);
    assert!(
        seen.contains("slot     a\n") && seen.contains("10.0.2.15\n"),
        "{seen}"
    );
    let status = on.run(&[
        "/bin/hearth-itself",
        "status",
        "/factory/edge.yaml",
        "--state",
        "/data/hearth",
    ]);
    assert!(status.contains("hello"), "{status}");
    let missing: Vec<&str> = status
        .lines()
        .filter(|line| line.contains("not enforced"))
        .collect();
    assert!(
        missing.is_empty(),
        "not enforced on the appliance: {missing:?}"
    );

    for (what, text) in [
        ("worker", "hello"),
        ("gateway", "hearth-itself gateway"),
        ("supervisor", "hearth-itself up"),
        ("network", "hearth-net"),
    ] {
        let begun = Instant::now();
        let before = on.order(&["signal", "9", text]);
        let back = on.answers(BACK);
        println!(
            "{what} (process {}) killed: answered again after {back:.1?}",
            before.trim().replace('\n', ", ")
        );
        // A new process answers, not the one that was killed. (SIGCONT does not change a process that runs.)
        let seen = || on.try_order(&["signal", "18", text]).unwrap_or_default();
        while matches!(seen().as_str(), told if told.is_empty() || told == before) {
            let waited = begun.elapsed();
            assert!(
                waited < Lab::get().speed.scale(BACK),
                "no other {what} within {waited:?}"
            );
        }
    }

    let certificate = on.order(&["read", "/data/hearth/tls/self-signed.crt"]);
    let begun = Instant::now();
    on.run(&["/bin/hearth-itself", "device", "reboot"]);
    on.restarts();
    println!("rebooted, answered again after {:.1?}", begun.elapsed());
    assert_eq!(
        certificate,
        on.order(&["read", "/data/hearth/tls/self-signed.crt"])
    );
    assert_eq!(on.boot_told()["data"], "mounted");
    on.running.press_power().unwrap();
    on.says("the power button was pressed", BACK);
    on.goes_off(BACK * 2);
}

#[test]
fn a_supervisor_that_hangs_is_ended_by_the_watchdog() {
    // The watchdog resets the machine, and the firmware then starts it.
    let mut device = Device::hello("watchdog").by_firmware();
    let mut on = device.boot();
    on.order(&["signal", "19", "hearth-itself up"]);
    let begun = Instant::now();
    on.running
        .event("WATCHDOG", Duration::from_secs(180))
        .unwrap();
    timings::waited(begun.elapsed());
    println!(
        "hung supervisor: the watchdog bit after {:.1?}",
        begun.elapsed()
    );
    on.answers(BOOT);
    // Nothing was lost.
    assert_eq!(on.boot_told()["data"], "mounted");
}

#[test]
fn a_device_with_little_memory_boots_and_serves() {
    let lab = Lab::get();
    // The memory that the firmware takes is part of the test.
    let mut device = Device::new("small", &lab.plain()).by_firmware();
    device.machine.memory = match lab.arch {
        Arch::X86_64 => 96,
        // With less memory, AAVMF itself ends in an exception.
        Arch::Aarch64 => 128,
    };
    let on = device.on();
    let api = ["-H", "Host: api.example.com"];
    let limit = lab.speed.scale(BOOT);
    wait::within(limit, "an answer", || on.ask("https", &api, "/items").ok());
    for _ in 0..50 {
        on.ask("https", &api, "/items").unwrap();
    }
    on.logs_in();
    println!("with {} MiB it serves", device.machine.memory);
}
