//! `cargo xtask test pi`: boots the Raspberry Pi's image in QEMU's raspi4b. This host does what the firmware would
//! do, which QEMU lacks. The kernel is the product's own for aarch64; a real Pi gets Buildroot's.

use std::fs::{self, OpenOptions};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hearth_image::Board;
use hearth_qemu_tests::{Arch, Boot, Guest, Inside, Spec, pi};

use crate::programs::{GUEST_INIT, build};
use crate::{kit, speed};
use xtask::sh::{say, target};
use xtask::{clock, install, kernel, needs, qemu, toolchain};

/// Size of the card in bytes: larger than the image, and a power of two, as QEMU requires.
const CARD: u64 = 1 << 30;

/// Time limit from switching on to the platform's first response over TLS, on an idle host. QEMU emulates four
/// processors here.
const BOOT: Duration = Duration::from_secs(60);

/// Boots the image from its card until it serves on loopback, because QEMU's Pi has no network.
pub(crate) fn test() -> anyhow::Result<()> {
    let begun = Instant::now();
    qemu::ensure()?;
    toolchain::ensure()?;
    install::ensure(needs::PI)?;
    let place = target().join("qemu").join("pi");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let card = place.join("card");
    kit::image(Board::Rpi4, &card)?;
    let opened = OpenOptions::new().write(true).open(&card);
    opened
        .and_then(|opened| opened.set_len(CARD))
        .with_context(|| format!("cannot enlarge {}", card.display()))?;
    let inside = Inside {
        arch: Arch::Aarch64,
        kernel: kernel::ensure(Arch::Aarch64)?,
        init: build(Arch::Aarch64, &[GUEST_INIT])?.remove(0),
        memory: 256,
        cpus: 2,
        devices: Vec::new(),
        place: place.clone(),
        on_line: None,
    };
    let speed = speed::speed(&inside)?;
    for start in ["first", "second"] {
        let taken = pi::take(&card, false, &place)?;
        ensure!(taken.partition == 2, "partition {}", taken.partition);
        let guest = Guest::start(&Spec {
            name: format!("pi-{start}"),
            arch: Arch::Aarch64,
            boot: Boot::Pi {
                taken,
                card: card.clone(),
            },
            // QEMU has this model only.
            memory: 2048,
            cpus: 4,
            devices: Vec::new(),
            ports: Vec::new(),
            tap: None,
            logs: place.clone(),
            speed,
            on_line: None,
        })?;
        guest.expect("find the disk that was started from: mmcblk0, slot a", BOOT)?;
        let ready = guest.expect("the platform is ready (", BOOT)?;
        say(&format!("pi, {start} start: {}", ready.trim()));
    }
    say(&format!("pi: passed in {}", clock::took(begun)));
    Ok(())
}
