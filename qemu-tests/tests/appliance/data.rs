//! What becomes of the data partition: growth, damage, being made anew.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use crate::device::{BOOT, Device, On};

/// Where the data partition begins in a disk, by the layout of images: after the selector's, two slots and the
/// identity.
fn begin(device: &Device) -> u64 {
    let table = hearth_image::gpt::read(&mut std::fs::File::open(device.machine.disk()).unwrap());
    let table = table.unwrap();
    let data = table.partitions.iter().find(|one| one.label == "data").unwrap();
    data.start * 512
}

fn overwrite(device: &Device, at: u64, length: usize) {
    let mut disk = OpenOptions::new().write(true).open(device.machine.disk()).unwrap();
    disk.seek(SeekFrom::Start(at)).unwrap();
    disk.write_all(&vec![0xa5; length]).unwrap();
    disk.sync_all().unwrap();
}

fn leave_a_mark(on: &On) {
    on.order(&["write", "/data/hearth/mark", "here I was"]);
    on.run(&["/bin/hearth-itself", "device", "power-off"]);
}

fn has_a_mark(on: &On) -> bool {
    on.order(&["run", "/bin/hearth-itself", "decode", "/data/hearth/mark"]).contains("No such file") == false
}

#[test]
fn data_that_is_damaged_beyond_repair_is_made_anew_and_that_is_said() {
    let mut device = Device::hello("damaged");
    let on = device.boot();
    leave_a_mark(&on);
    on.is_off(BOOT);
    // The superblock, its copies of the first groups, and the group descriptors.
    overwrite(&device, begin(&device), 9 << 20);
    let on = device.on();
    on.says("made anew", BOOT);
    on.answers(BOOT);
    let boot = on.boot_told();
    assert_eq!(boot["data"], "remade", "{boot}");
    assert!(!boot["reasons"].as_array().unwrap().is_empty(), "{boot}");
    assert!(boot["data_bytes"].as_u64().unwrap() > 512 << 20, "{boot}");
    assert!(!has_a_mark(&on));
    // The next boot finds it whole.
    on.run(&["/bin/hearth-itself", "device", "reboot"]);
    std::thread::sleep(Duration::from_secs(1));
    on.answers(BOOT);
    assert_eq!(on.boot_told()["data"], "mounted");
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
    on.is_off(BOOT);
    // By a file on the partition that any computer can write.
    let disk = device.machine.disk();
    let partition = format!("{}@@1M", disk.display());
    let file = Command::new("mcopy").args(["-i", &partition, "/dev/null", "::factory-reset"]).status().unwrap();
    assert!(file.success());
    let on = device.on();
    on.says("factory reset", BOOT);
    on.answers(BOOT);
    assert!(!has_a_mark(&on));
    // The file is gone: what is written from now on stays.
    leave_a_mark(&on);
    on.is_off(BOOT);
    let on = device.boot();
    assert!(has_a_mark(&on));
    assert_eq!(on.boot_told()["data"], "mounted");
}
use std::process::Command;
