//! `cargo xtask test flash`: runs `hearth image flash` in a machine with a card in its USB port, and then starts a
//! device from that card.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hearth_image::board::Board;
use hearth_image::layout::{MIB, Role, span};
use hearth_qemu_tests::{Arch, Initramfs, Inside, Machine, Owner, Speed};

use super::{in_guest, inside, job, read};
use crate::programs::{DISK, GUEST_INIT, HEARTH, Program, build};
use crate::{kit, speed};
use xtask::sh::{say, target};
use xtask::{clock, kernel, qemu, toolchain};

const PROGRAMS: &[Program] = &[GUEST_INIT, HEARTH, DISK];

/// Size of the disks in bytes. It is larger than an image, so that the end of a disk remains unwritten.
const SIZE: u64 = 64 * MIB;

/// The contents of a disk before the test.
const BEFORE: u8 = 0xee;

/// Time limit for the program inside, on an idle host.
const LIMIT: Duration = Duration::from_secs(60);

/// Time limit from switching the device on to its platform, on an idle host.
const BOOT: Duration = Duration::from_secs(60);

/// Flashes and starts a card in machines of these architectures.
pub(crate) fn test(arches: &[Arch]) -> anyhow::Result<()> {
    qemu::ensure()?;
    toolchain::ensure()?;
    arches.iter().try_for_each(|arch| test_on(*arch))
}

fn test_on(arch: Arch) -> anyhow::Result<()> {
    let begun = Instant::now();
    let name = arch.name();
    let built = build(arch, PROGRAMS)?;
    let disks = Disks::new(arch)?;
    let inside = inside(arch, kernel::ensure(arch)?, built[0].clone());
    let speed = speed::speed(&inside)?;
    let inside = Inside {
        devices: disks.devices(),
        ..inside
    };
    let mut archive = Initramfs::new();
    for (program, path) in PROGRAMS.iter().zip(&built).skip(1) {
        archive.file(&in_guest(program), read(path)?, Owner::ROOT, 0o755)?;
    }
    archive.file("/edge.img", disks.image.clone(), Owner::ROOT, 0o644)?;
    let words = ["/bin/disk", "--ignored", "--nocapture"];
    inside.run(
        &format!("{name}-flash"),
        &archive,
        &job(&words),
        LIMIT,
        speed,
    )?;
    disks.compare()?;
    disks.boot(speed)?;
    say(&format!("flash {name}: passed in {}", clock::took(begun)));
    Ok(())
}

/// The disks of the machine that flashes, and the image that they must hold afterwards.
struct Disks {
    arch: Arch,
    place: PathBuf,
    image: Vec<u8>,
}

impl Disks {
    /// Creates four disks: one that is built in, a card with an older system whose data is gone, one that is
    /// write-protected, and one that is too small.
    fn new(arch: Arch) -> anyhow::Result<Disks> {
        let place = target().join("qemu").join(format!("flash-{}", arch.name()));
        fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        let board: Board = format!("qemu-{}", arch.name()).parse()?;
        let file = place.join("edge.img");
        kit::image(board, &file)?;
        let image = read(&file)?;
        ensure!(
            (image.len() as u64) < SIZE,
            "an image has {} bytes",
            image.len()
        );
        let disks = Disks { arch, place, image };
        let data = span(Role::Data, board.firmware()).start as usize;
        disks.make("built-in", &[], SIZE)?;
        disks.make("protected", &[], SIZE)?;
        disks.make("small", &[], MIB)?;
        disks.make("card", &disks.image[..data], SIZE)?;
        Ok(disks)
    }

    fn disk(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    fn make(&self, name: &str, begin: &[u8], len: u64) -> anyhow::Result<()> {
        let path = self.disk(name);
        let rest = vec![BEFORE; len as usize - begin.len()];
        let made = File::create(&path).and_then(|mut file| {
            file.write_all(begin)?;
            file.write_all(&rest)
        });
        made.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Returns the disks as arguments for QEMU.
    fn devices(&self) -> Vec<String> {
        let drive = |name: &str, more: &str| {
            let file = self.disk(name);
            format!("if=none,id={name},format=raw,file={}{more}", file.display())
        };
        let built_in = |name: &str, more: &str| {
            let device = format!("virtio-blk-pci,drive={name}");
            [
                "-drive".to_owned(),
                drive(name, more),
                "-device".to_owned(),
                device,
            ]
        };
        let mut words = Vec::new();
        words.extend(built_in("built-in", ""));
        words.extend(built_in("protected", ",readonly=on"));
        words.extend(built_in("small", ""));
        let card = drive("card", "");
        let port = ["-device", "qemu-xhci", "-drive", &card];
        words.extend(port.map(str::to_owned));
        words.extend(["-device", "usb-storage,drive=card,removable=on"].map(str::to_owned));
        words
    }

    /// Checks that the first two disks hold the image, and the others what they held before.
    fn compare(&self) -> anyhow::Result<()> {
        let blank = vec![BEFORE; SIZE as usize];
        for (name, begin) in [
            ("built-in", &self.image[..]),
            ("card", &self.image),
            ("protected", &blank),
            ("small", &blank[..MIB as usize]),
        ] {
            let path = self.disk(name);
            let found = read(&path)?;
            ensure!(
                found.starts_with(begin),
                "{} holds something else",
                path.display()
            );
        }
        Ok(())
    }

    /// Starts a device from the card.
    fn boot(&self, speed: Speed) -> anyhow::Result<()> {
        let mut machine = Machine::new(&self.place, "device", self.arch, &self.disk("card"))?;
        let running = machine.boot(speed)?;
        let ready = running.guest.expect("the platform is ready (", BOOT)?;
        say(&format!("flash {}: {}", self.arch.name(), ready.trim()));
        Ok(())
    }
}
