//! Networks and clocks that are missing, late or wrong, and settings on the disk.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::device::{BOOT, Device};

/// The partition that any computer can write, as an argument for mtools(1).
fn fat(device: &Device) -> String {
    format!("{}@@1M", device.machine.disk().display())
}

/// Writes `device.yaml` to this partition.
fn set(device: &Device, text: &str) {
    let mut copy = Command::new("mcopy")
        .args(["-o", "-i", &fat(device), "-", "::device.yaml"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    copy.stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(copy.wait().unwrap().success());
}

#[test]
fn without_a_network_it_stands_and_it_serves_when_the_cable_is_plugged_in() {
    let mut device = Device::hello("late");
    let mut on = device.on();
    // Unplugged long before the system looks for a network.
    on.running.link(false).unwrap();
    on.says("NO NETWORK ADDRESS", BOOT);
    on.running.link(true).unwrap();
    on.says("https://10.0.2.15", Duration::from_secs(30));
    on.answers(BOOT);
    // Then unplugged and plugged in while the device runs.
    on.running.link(false).unwrap();
    assert!(on.get("http", "/").is_err());
    on.running.link(true).unwrap();
    on.answers(BOOT);
}

#[test]
fn a_second_card_takes_over_and_back_and_nothing_of_it_is_left() {
    let mut device = Device::hello("cards");
    let spare = "user,id=spare,net=10.0.3.0/24,dhcpstart=10.0.3.15,ipv6-prefix=fd03::";
    let card = "virtio-net-pci,netdev=spare,romfile=,mac=52:54:00:12:34:99";
    let words = ["-netdev", spare, "-device", card];
    device.machine.devices = words.map(str::to_owned).to_vec();
    let mut on = device.on();
    on.running.link_of("spare", false).unwrap();
    let first = "https://10.0.2.15/";
    on.says(first, BOOT);
    on.running.link(false).unwrap();
    on.running.link_of("spare", true).unwrap();
    on.says("https://10.0.3.15/  https://[fd03:", BOOT);
    on.running.link(true).unwrap();
    on.running.link_of("spare", false).unwrap();
    on.says(first, BOOT);
    on.answers(BOOT);
    let told = on.json("/run/hearth/net.json");
    println!("{told}");
    assert_eq!(told["gateway"], "10.0.2.2");
    assert!(!told.to_string().contains("10.0.3."), "{told}");
    let routes = on.order(&["read", "/proc/net/route"]);
    assert!(!routes.contains("eth1"), "{routes}");
    let addresses = on.order(&["read", "/proc/net/if_inet6"]);
    assert!(!addresses.contains("fd03"), "{addresses}");
}

#[test]
fn settings_on_the_disk_hold_and_bad_ones_are_told_and_passed_over() {
    // The firmware reads the same partition.
    let mut device = Device::hello("settings").by_firmware();
    set(
        &device,
        "hostname: kitchen\nnetwork: { mode: static, address: 10.0.2.15/24, gateway: 10.0.2.2, dns: [10.0.2.3] }\n",
    );
    let on = device.boot();
    let network = on.json("/run/hearth/net.json");
    assert_eq!(network["hostname"], "kitchen", "{network}");
    assert_eq!(network["mdns"], "kitchen.local", "{network}");
    assert_eq!(network["dns"], serde_json::json!(["10.0.2.3"]), "{network}");
    on.run(&["/bin/hearth-itself", "device", "power-off"]);
    on.goes_off(BOOT);
    set(&device, "hostname: bad name\n");
    let on = device.on();
    on.says("device.yaml:1:11", BOOT);
    on.answers(BOOT);
    assert_eq!(on.json("/run/hearth/net.json")["hostname"], "kitchen");
    on.run(&["/bin/hearth-itself", "device", "power-off"]);
    on.goes_off(BOOT);
    // An empty file counts as an interrupted write. A directory does not request a reset, because the device could
    // not remove it.
    set(&device, "");
    let made = Command::new("mmd")
        .args(["-i", &fat(&device), "::factory-reset"])
        .status();
    assert!(made.unwrap().success());
    let on = device.boot();
    assert_eq!(on.json("/run/hearth/net.json")["hostname"], "kitchen");
    assert_eq!(on.boot_told()["data"], "mounted");
}

#[test]
fn a_clock_that_knows_nothing_begins_where_the_image_was_made() {
    let mut device = Device::hello("clock");
    device.machine.clock = Some("2020-01-01T00:00:00".to_owned());
    let on = device.boot();
    let built = on.json("/etc/hearth/release.json")["built"]
        .as_u64()
        .unwrap();
    let stat = on.order(&["read", "/proc/stat"]);
    let since = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .unwrap();
    let since: u64 = since.trim().parse().unwrap();
    // `btime` is the current time minus the time since the start.
    assert!(
        (built..built + 86_400).contains(&(since + 600)),
        "{since} {built}"
    );
    println!("clock of 2020: begins at {since}, the image is of {built}");
}
