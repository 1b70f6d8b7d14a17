//! Boots that are only told, compared with what they were when somebody last looked: order, flags, and what follows
//! a failure. `UPDATE_GOLDEN=1` writes the files anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output};

fn dry_run(facts: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth-init"));
    command.arg("--dry-run").args(facts).output().unwrap()
}

fn check(name: &str, facts: &[&str]) {
    let output = dry_run(facts);
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&place, &told).unwrap();
    }
    let expect = std::fs::read_to_string(&place).unwrap();
    assert_eq!(told, expect, "{}", place.display());
}

#[test]
fn a_boot_from_a_disk() {
    check("normal", &["disk=sda"]);
}

#[test]
fn a_trial() {
    check("trial", &["disk=nvme0n1", "trial"]);
}

#[test]
fn a_raspberry_pi() {
    check("pi", &["disk=mmcblk0:mbr"]);
}

#[test]
fn no_disk() {
    check("no_disk", &[]);
}

#[test]
fn a_factory_reset_by_a_file_on_the_fat_partition() {
    check("reset_esp", &["disk=sda", "reset=esp"]);
}

#[test]
fn a_factory_reset_that_would_be_asked_for_at_every_boot_is_none() {
    check(
        "reset_stays",
        &["disk=sda", "reset=esp", "fails=write to factory-reset"],
    );
}

#[test]
fn a_factory_reset_by_the_command_line() {
    check("reset_data", &["disk=sda", "reset=data"]);
}

#[test]
fn data_that_can_be_repaired() {
    check("repaired", &["disk=sda", "fails-once=mount sda5"]);
}

#[test]
fn data_that_cannot_be_repaired() {
    check("remade", &["disk=sda", "fails-once=mount sda5", "lost"]);
}

#[test]
fn data_of_which_nothing_can_be_known_stays_as_it_is() {
    check(
        "unchecked",
        &["disk=sda", "fails=mount sda5", "fails=check"],
    );
}

#[test]
fn a_disk_that_does_not_work() {
    check(
        "dead_disk",
        &["disk=sda", "fails=mount sda", "fails=make sda5"],
    );
}

#[test]
fn what_no_program_runs_without() {
    check("fatal", &["disk=sda", "fails=mount proc"]);
}

#[test]
fn every_step_that_fails_is_followed_by_service_or_by_a_restart() {
    let normal = dry_run(&["disk=sda", "reset=esp"]);
    let normal = String::from_utf8(normal.stdout).unwrap();
    let steps = normal
        .lines()
        .filter(|line| !line.starts_with([' ']) && !line.starts_with("slot "));
    let mut count = 0;
    for step in steps {
        let output = dry_run(&["disk=sda", "reset=esp", &format!("fails={step}")]);
        let told = String::from_utf8(output.stdout).unwrap();
        let serves = told.contains("\nstart hearth up --appliance\nslot ");
        let restarts = told.ends_with("restart in 10 seconds\n");
        assert!(serves != restarts, "{step}: {told}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn outside_of_an_appliance_it_does_nothing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth-init"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("PID 1"), "{said}");
    assert_eq!(dry_run(&["disk"]).status.code(), Some(2));
}
