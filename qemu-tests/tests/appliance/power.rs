//! Power cuts at any moment.

use std::time::{Duration, Instant};

use crate::device::{BOOT, Device};

/// The number of power cuts: a sample, or `HEARTH_CUTS` for long runs.
fn cuts() -> u32 {
    std::env::var("HEARTH_CUTS").map_or(5, |text| text.parse().unwrap())
}

/// A random number (splitmix64). The test prints the first seed.
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn power_that_is_cut_while_it_boots_and_writes_loses_nothing_that_was_kept() {
    let mut seed = std::env::var("HEARTH_SEED")
        .map_or_else(|_| std::process::id().into(), |text| text.parse().unwrap());
    println!("HEARTH_SEED={seed}");
    let mut device = Device::hello("power");
    let begun = Instant::now();
    let on = device.boot();
    let whole = begun.elapsed();
    on.order(&["write", "/data/hearth/mark", "here I was"]);
    // The power-off makes sure that the file is on the disk.
    on.run(&["/bin/hearth-itself", "device", "power-off"]);
    on.goes_off(BOOT);
    for cut in 1..=cuts() {
        let part = random(&mut seed) % 1500;
        let after = whole * u32::try_from(part).unwrap() / 1000;
        let on = device.on();
        let begun = Instant::now();
        // While the device serves, each request adds a line to the log on its disk.
        while begun.elapsed() < after {
            let _ = on.get("https", "/");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(on);
        println!("cut {cut}: after {after:.1?} of {whole:.1?}");
    }
    let on = device.boot();
    let boot = on.boot_told();
    assert!(
        boot["data"] == "mounted" || boot["data"] == "repaired",
        "{boot}"
    );
    assert_eq!(on.order(&["read", "/data/hearth/mark"]), "here I was");
}

#[test]
fn a_panic_of_the_kernel_is_found_again_after_the_reboot() {
    // The firmware stores the kernel's last messages.
    let mut device = Device::hello("panic").by_firmware();
    let on = device.boot();
    // More memory than the machine has, outside of any sandbox. The kernel must panic, because it may not kill a
    // process.
    on.order(&["write", "/proc/sys/vm/panic_on_oom", "2"]);
    let bomb = r#"{"act":"memory bomb","bytes":1258291200}"#;
    on.order_blindly(&["run", "/bin/tests/hostile", "act", bomb]);
    on.says("Kernel panic", BOOT);
    on.answers(BOOT * 2);
    let seen = on.run(&["/bin/hearth-itself", "device"]);
    println!("{seen}");
    assert!(seen.contains("the last kernel died: "), "{seen}");
}
