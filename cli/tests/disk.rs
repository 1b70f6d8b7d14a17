//! `hearth image flash` onto the disks of a virtual machine: a built-in disk, a card in a USB port, and two
//! unsuitable disks. `cargo xtask test flash` starts the machine, and compares the contents of the disks afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of this is tests, which Clippy sees only in the functions marked as such"
)]

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};

const IMAGE: &str = "/edge.img";
const BUILT_IN: &str = "/dev/vda";
const PROTECTED: &str = "/dev/vdb";
const SMALL: &str = "/dev/vdc";
const CARD: &str = "/dev/sda";

/// The byte that fills the built-in disk before the test.
const BEFORE: u8 = 0xee;

/// Waits for the card: the kernel finds USB devices after all others.
fn plugged() {
    let until = Instant::now() + Duration::from_secs(60);
    while !Path::new(CARD).exists() {
        assert!(Instant::now() < until, "{CARD} does not come");
        sleep(Duration::from_millis(50));
    }
}

/// Runs `hearth image flash`. Returns its exit status and stderr.
fn flash(device: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("/bin/hearth");
    command.args(["image", "flash", IMAGE, device, "--yes"]);
    let output = command.args(more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!(
        "flash {device} {}: {}\n{said}",
        more.join(" "),
        output.status
    );
    (output.status.code(), said)
}

/// Asserts that the disk is refused for these reasons.
fn refused(device: &str, more: &[&str], reasons: &[&str]) {
    let (status, said) = flash(device, more);
    assert_eq!(status, Some(1));
    for reason in reasons {
        assert!(said.contains(reason), "no {reason:?}");
    }
}

/// Asserts that the disk is written. Returns stderr.
fn written(device: &str, more: &[&str]) -> String {
    let (status, said) = flash(device, more);
    assert_eq!(status, Some(0));
    assert!(said.contains("written and read back"));
    said
}

#[test]
#[ignore = "it wants a machine with disks to lose: `cargo xtask test flash` makes one"]
fn a_disk_is_written_once_nothing_speaks_against_it_or_somebody_insists() {
    plugged();
    refused(
        BUILT_IN,
        &[],
        &[
            "/dev/vda is built into this machine",
            "/dev/vda is left alone; --force writes to it anyway",
        ],
    );
    let mut first = vec![0; 1 << 20];
    File::open(BUILT_IN)
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    assert!(
        first.iter().all(|byte| *byte == BEFORE),
        "it was written to"
    );
    written(BUILT_IN, &["--force"]);

    // A card needs no `--force` unless it is in use.
    let place = "/tmp/card";
    fs::create_dir(place).unwrap();
    let none = None::<&str>;
    mount(
        Some("/dev/sda1"),
        place,
        Some("vfat"),
        MsFlags::MS_RDONLY,
        none,
    )
    .unwrap();
    refused(
        CARD,
        &[],
        &[
            "/dev/sda1 is mounted at /tmp/card",
            "/dev/sda is left alone; --force writes to it anyway",
        ],
    );
    umount(place).unwrap();
    let said = written(CARD, &[]);
    // The output names the image that is lost.
    assert!(said.contains("holds Hearth "));
    assert!(!said.contains("built into") && !said.contains("mounted"));

    let mut from_a_disk = Command::new("/bin/hearth");
    from_a_disk.args(["image", "flash", CARD, BUILT_IN, "--yes", "--force"]);
    let said = from_a_disk.output().unwrap().stderr;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("/dev/sda is a disk: an image is a file"));
    refused(
        "/dev/sda1",
        &["--force"],
        &["/dev/sda1 is a partition, and an image is a whole disk: /dev/sda"],
    );
    refused(CARD, &["--force", "--file"], &["/dev/sda is no file"]);
    refused(PROTECTED, &["--force"], &["/dev/vdb is write-protected"]);
    refused(
        SMALL,
        &["--force"],
        &["/dev/vdc is too small: it has 1.0 MiB"],
    );
}
