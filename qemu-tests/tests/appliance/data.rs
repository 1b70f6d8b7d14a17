//! The data partition: growth, damage, and being recreated.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::process::Command;

use hearth_image::Firmware;
use hearth_image::layout::{Role, span};

use crate::device::{BOOT, Device, On};

/// Overwrites the beginning of the data partition.
fn spoil(device: &Device, length: usize) {
    let begin = span(Role::Data, Firmware::Uefi).start;
    let mut disk = OpenOptions::new()
        .write(true)
        .open(device.machine.disk())
        .unwrap();
    disk.seek(SeekFrom::Start(begin)).unwrap();
    disk.write_all(&vec![0xa5; length]).unwrap();
    disk.sync_all().unwrap();
}

fn leave_a_mark(on: &On) {
    on.order(&["write", "/data/hearth/mark", "here I was"]);
    on.run(&["/bin/hearth-itself", "device", "power-off"]);
}

fn has_a_mark(on: &On) -> bool {
    on.try_order(&["read", "/data/hearth/mark"]).is_ok()
}

#[test]
fn data_that_is_damaged_beyond_repair_is_made_anew_and_that_is_said() {
    let mut device = Device::hello("damaged");
    let on = device.boot();
    leave_a_mark(&on);
    on.goes_off(BOOT);
    // This overwrites the superblock, its copies in the first groups, and the group descriptors.
    spoil(&device, 9 << 20);
    let mut on = device.on();
    on.says("DATA WAS MADE ANEW", BOOT);
    on.answers(BOOT);
    let boot = on.boot_told();
    assert_eq!(boot["data"], "remade", "{boot}");
    assert!(!boot["reasons"].as_array().unwrap().is_empty(), "{boot}");
    assert!(boot["data_bytes"].as_u64().unwrap() > 512 << 20, "{boot}");
    assert!(!has_a_mark(&on));
    // The next boot finds it undamaged.
    on.run(&["/bin/hearth-itself", "device", "reboot"]);
    on.restarts();
    assert_eq!(on.boot_told()["data"], "mounted");
}

#[test]
fn a_fault_that_is_found_while_it_serves_is_told_and_a_restart_repairs_it() {
    let mut device = Device::hello("fault");
    let on = device.boot();
    // This simulates an error in the file system, which from here on refuses writes.
    on.order(&["write", "/sys/fs/ext4/vda5/trigger_fs_error", "a test"]);
    on.says("DATA HAS FAILED", BOOT);
    let boot = on.boot_told();
    let reasons = boot["reasons"].to_string();
    assert!(reasons.contains("DATA HAS FAILED"), "{boot}");
    let mark = ["write", "/data/hearth/mark", "here I was"];
    assert!(on.try_order(&mark).is_err(), "it is written to");
    on.answers(BOOT);
    let seen = on.run(&["/bin/hearth-itself", "device"]);
    assert!(seen.contains("DATA HAS FAILED"), "{seen}");
    // A platform that needs its data partition continues with data in memory.
    on.order(&["signal", "9", "hearth-itself up"]);
    on.says("NO DATA, nothing is kept", BOOT);
    on.answers(BOOT);
    on.order(&mark);
    on.run(&["/bin/hearth-itself", "device", "reboot"]);
    on.says("data was damaged, and has been repaired", BOOT);
    on.answers(BOOT);
    let boot = on.boot_told();
    assert_eq!(boot["data"], "repaired", "{boot}");
    assert!(!has_a_mark(&on));
    on.order(&mark);
}

#[test]
fn a_factory_reset_forgets_everything_once() {
    let mut device = Device::hello("reset");
    let on = device.boot();
    on.order(&["write", "/data/hearth/mark", "here I was"]);
    assert!(has_a_mark(&on));
    on.run(&["/bin/hearth-itself", "device", "factory-reset", "--yes"]);
    on.says("factory reset", BOOT);
    on.answers(BOOT);
    assert!(!has_a_mark(&on));
    assert_eq!(on.boot_told()["data"], "remade");
    leave_a_mark(&on);
    on.goes_off(BOOT);
    // The same by a file on the partition that any computer can write.
    let disk = device.machine.disk();
    let partition = format!("{}@@1M", disk.display());
    let file = Command::new("mcopy")
        .args(["-i", &partition, "/dev/null", "::factory-reset"])
        .status()
        .unwrap();
    assert!(file.success());
    let on = device.on();
    on.says("factory reset", BOOT);
    on.answers(BOOT);
    assert!(!has_a_mark(&on));
    // The file is gone: what is written from now on persists.
    leave_a_mark(&on);
    on.goes_off(BOOT);
    let on = device.boot();
    assert!(has_a_mark(&on));
    assert_eq!(on.boot_told()["data"], "mounted");
}
