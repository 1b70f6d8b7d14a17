//! `cargo xtask test firmware`: tests selector and stub under real UEFI firmware, with the product's kernel, on disks
//! with the layout of images. The system that they start is small, and reports how it was started.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hearth_guest::{JOB, Job, REPORT};
use hearth_image::assemble::{Contents, assemble};
use hearth_image::autoboot::{Autoboot, Slot};
use hearth_image::kit::{About, Kit, Node, Tree};
use hearth_image::layout::{Role, Span, span};
use hearth_image::{Board, Firmware};
use hearth_qemu_tests::{Arch, Inside, Machine, Running, Speed};

use crate::programs::{BOOT_REPORT, GUEST_INIT, build};
use crate::{firmware, kit, speed};
use xtask::sh::{say, target};
use xtask::{clock, install, kernel, needs, qemu, toolchain};

/// Time limit from the power button to the system's first output, on an idle host.
const BOOT: Duration = Duration::from_secs(25);

/// An image with both slots, and what the tests need to damage it.
struct Disks {
    arch: Arch,
    place: PathBuf,
    image: PathBuf,
    /// The first sector of the kernel.
    kernel: Vec<u8>,
    speed: Speed,
}

/// Runs all tests under the firmware of these architectures.
pub(crate) fn test(arches: &[Arch]) -> anyhow::Result<()> {
    qemu::ensure()?;
    toolchain::ensure()?;
    install::ensure(needs::FIRMWARE)?;
    for arch in arches {
        let begun = Instant::now();
        test_on(*arch)?;
        let (name, took) = (arch.name(), clock::took(begun));
        say(&format!("firmware {name}: passed in {took}"));
    }
    Ok(())
}

fn test_on(arch: Arch) -> anyhow::Result<()> {
    let disks = Disks::make(arch)?;
    let case = |what: &str, run: &dyn Fn(&Disks) -> anyhow::Result<()>| -> anyhow::Result<()> {
        let begun = Instant::now();
        run(&disks).with_context(|| format!("firmware {}: {what}", arch.name()))?;
        let (name, took) = (arch.name(), clock::took(begun));
        say(&format!("firmware {name}: {what}, in {took}"));
        Ok(())
    };
    case("a trial holds once", &a_trial_holds_once)?;
    case("the other slot is the default", &the_default_is_read)?;
    case("much memory", &much_memory)?;
    case("a damaged slot gives way", &a_damaged_slot_gives_way)?;
    case("a damaged kernel gives way", &a_damaged_kernel_gives_way)?;
    case("a damaged trial is none", &a_damaged_trial_is_none)?;
    case(
        "a damaged trial's kernel leaves nothing",
        &a_damaged_kernel_on_trial_leaves_nothing,
    )?;
    case("garbage boots slot a", &garbage_boots_a)?;
    case("no slot, and the reason", &no_slot_and_the_reason)
}

/// Slot a boots, then slot b on trial, then slot a again, without any help but the firmware's.
fn a_trial_holds_once(disks: &Disks) -> anyhow::Result<()> {
    let mut machine = disks.machine("trial")?;
    let mut running = machine.boot(disks.speed)?;
    running.guest.expect("selector: starting slot a", BOOT)?;
    let first = report(&running)?;
    ensure!(first.contains("slot=a trial=none partition="), "{first}");
    ensure!(first.contains("stub=hearth-stub"), "{first}");
    let of_a = partition(&first).with_context(|| format!("no GUID in {first}"))?;
    running
        .guest
        .expect("selector: starting slot b, for a trial", BOOT)?;
    let second = report(&running)?;
    ensure!(second.contains("slot=b trial=1 "), "{second}");
    let of_b = partition(&second).with_context(|| format!("no GUID in {second}"))?;
    ensure!(of_a != of_b, "both slots are {of_a}");
    running.guest.expect("selector: starting slot a", BOOT)?;
    let third = report(&running)?;
    ensure!(third.contains("slot=a trial=none "), "{third}");
    ensure!(partition(&third) == Some(of_a), "{third}");
    running.guest.wait_off(BOOT)?;
    Ok(())
}

/// `autoboot.txt` decides. It is overwritten in place by one sector, as in a commit.
fn the_default_is_read(disks: &Disks) -> anyhow::Result<()> {
    let mut machine = disks.machine("default")?;
    let text = Autoboot::committed(Slot::B).text();
    let known = Autoboot::committed(Slot::A).text();
    overwrite(&machine.disk(), Role::Esp, &known, &text)?;
    let running = machine.boot(disks.speed)?;
    let line = report(&running)?;
    ensure!(line.contains("slot=b trial=none "), "{line}");
    Ok(())
}

/// Most of the memory is above the limit for the firmware's drivers.
fn much_memory(disks: &Disks) -> anyhow::Result<()> {
    let mut machine = disks.machine("memory")?;
    machine.memory = 8192;
    let running = machine.boot(disks.speed)?;
    let line = report(&running)?;
    ensure!(line.contains("slot=a trial=none "), "{line}");
    Ok(())
}

/// An interrupted installation has left the first sector empty.
fn a_damaged_slot_gives_way(disks: &Disks) -> anyhow::Result<()> {
    let mut machine = disks.machine("damaged")?;
    clear(&machine.disk(), slot(Role::SlotA).start, 512)?;
    let running = machine.boot(disks.speed)?;
    running
        .guest
        .expect("selector: slot a does not start", BOOT)?;
    running
        .guest
        .expect("selector: starting slot b instead", BOOT)?;
    let line = report(&running)?;
    ensure!(line.contains("slot=b trial=none "), "{line}");
    Ok(())
}

/// The file exists, but its kernel is damaged.
fn a_damaged_kernel_gives_way(disks: &Disks) -> anyhow::Result<()> {
    let mut machine = disks.machine("damaged-kernel")?;
    overwrite(&machine.disk(), Role::SlotA, &disks.kernel, &[0xa5; 512])?;
    let running = machine.boot(disks.speed)?;
    running.guest.expect("stub: cannot load the kernel", BOOT)?;
    running
        .guest
        .expect("selector: slot a does not start", BOOT)?;
    let line = report(&running)?;
    ensure!(line.contains("slot=b trial=none "), "{line}");
    Ok(())
}

/// If the slot on trial does not start, the default slot starts without a trial.
fn a_damaged_trial_is_none(disks: &Disks) -> anyhow::Result<()> {
    let mut machine = disks.machine("damaged-trial")?;
    clear(&machine.disk(), slot(Role::SlotB).start, 512)?;
    let running = machine.boot(disks.speed)?;
    report(&running)?;
    running
        .guest
        .expect("selector: starting slot b, for a trial", BOOT)?;
    running
        .guest
        .expect("selector: starting slot a instead", BOOT)?;
    let line = report(&running)?;
    ensure!(line.contains("slot=a trial=none "), "{line}");
    Ok(())
}

/// The stub on trial has set its variables before it failed; the other slot's stub must replace them.
fn a_damaged_kernel_on_trial_leaves_nothing(disks: &Disks) -> anyhow::Result<()> {
    let mut machine = disks.machine("damaged-trial-kernel")?;
    overwrite(&machine.disk(), Role::SlotB, &disks.kernel, &[0xa5; 512])?;
    let running = machine.boot(disks.speed)?;
    let first = report(&running)?;
    running
        .guest
        .expect("selector: starting slot b, for a trial", BOOT)?;
    running.guest.expect("stub: cannot load the kernel", BOOT)?;
    running
        .guest
        .expect("selector: starting slot a instead", BOOT)?;
    let second = report(&running)?;
    ensure!(second.contains("slot=a trial=none "), "{second}");
    ensure!(
        partition(&first).is_some() && partition(&second) == partition(&first),
        "{first}\n{second}"
    );
    Ok(())
}

fn garbage_boots_a(disks: &Disks) -> anyhow::Result<()> {
    let mut machine = disks.machine("garbage")?;
    let known = Autoboot::committed(Slot::A).text();
    overwrite(&machine.disk(), Role::Esp, &known, &[0xa5; 512])?;
    let running = machine.boot(disks.speed)?;
    running.guest.expect("selector: autoboot.txt", BOOT)?;
    let line = report(&running)?;
    ensure!(line.contains("slot=a trial=none "), "{line}");
    Ok(())
}

fn no_slot_and_the_reason(disks: &Disks) -> anyhow::Result<()> {
    let mut machine = disks.machine("none")?;
    for role in [Role::SlotA, Role::SlotB] {
        clear(&machine.disk(), slot(role).start, 512)?;
    }
    let mut running = machine.boot(disks.speed)?;
    running
        .guest
        .expect("selector: slot a does not start", BOOT)?;
    running
        .guest
        .expect("selector: slot b does not start", BOOT)?;
    running.guest.expect("selector: trying both again", BOOT)?;
    running.guest.expect("selector: no slot starts", BOOT)?;
    let status = running.status()?;
    ensure!(status == "running", "the machine is {status}");
    // A user who has just connected a screen resets the machine and sees the reason.
    running.reset()?;
    running.event("RESET", BOOT)?;
    running.guest.expect("selector: no slot starts", BOOT)?;
    Ok(())
}

/// Returns the partition that a report names, in upper case.
fn partition(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let word = words.find_map(|word| word.strip_prefix("partition="))?;
    (word.len() == 36 && word == word.to_uppercase()).then(|| word.to_owned())
}

fn report(running: &Running) -> anyhow::Result<String> {
    Ok(running.guest.expect(REPORT, BOOT)?)
}

impl Disks {
    /// Makes an image with two slots, each with its own command line. Slot b is where an update would put it.
    fn make(arch: Arch) -> anyhow::Result<Disks> {
        let place = target()
            .join("qemu")
            .join(format!("firmware-{}", arch.name()));
        std::fs::create_dir_all(&place)?;
        let image = kernel::ensure(arch)?;
        let kernels = image.parent().context("a kernel lies in a directory")?;
        let board = match arch {
            Arch::X86_64 => Board::QemuX86_64,
            Arch::Aarch64 => Board::QemuAarch64,
        };
        let programs = firmware::build(board.arch())?;
        let built = build(arch, &[GUEST_INIT, BOOT_REPORT])?;
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let mut root = Tree::new();
        root.insert("init".into(), Node::File(0o755, read(&built[0])?));
        root.insert("bin".into(), Node::Directory(0o755));
        root.insert(
            "bin/boot-report".into(),
            Node::File(0o755, read(&built[1])?),
        );
        let job = Job::new(&["/bin/boot-report"]).to_text();
        let job_path = JOB.trim_start_matches('/');
        root.insert(job_path.into(), Node::File(0o600, job.into()));
        let kit = Kit {
            about: About {
                format: 1,
                board: board.name().to_owned(),
                arch: arch.name().to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                kernel: kit::kernel_version(kernels)?,
                built: 0,
            },
            board,
            cmdline: String::new(),
            kernel: read(&kernels.join("kernel.efi"))?,
            stub: read(&programs.stub)?,
            selector: read(&programs.selector)?,
            root,
            data: kit::data(board)?,
            firmware: Default::default(),
        };
        let disk = place.join("image");
        let mut slots = Vec::new();
        for (role, name) in [(Role::SlotB, "b"), (Role::SlotA, "a")] {
            let mut kit = kit.clone();
            let serial = kit::command_line(board);
            kit.cmdline = format!("{} test.slot={name}", serial.trim());
            let contents = Contents {
                kit,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                built: 0,
                factory: Tree::new(),
                device: None,
                authorities: None,
            };
            let image = assemble(&contents, &mut |_| {})?;
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .open(&disk)?;
            file.set_len(image.space.image)?;
            image.write(&mut file, &mut |_| {})?;
            let from = slot(Role::SlotA);
            let mut bytes = vec![0; usize::try_from(from.len)?];
            file.seek(SeekFrom::Start(from.start))?;
            file.read_exact(&mut bytes)?;
            slots.push((role, bytes));
        }
        // The last image has slot a; slot b comes from the first image.
        let mut file = OpenOptions::new().write(true).open(&disk)?;
        for (role, bytes) in slots {
            file.seek(SeekFrom::Start(slot(role).start))?;
            file.write_all(&bytes)?;
        }
        let inside = Inside {
            arch,
            kernel: image,
            init: built[0].clone(),
            memory: 256,
            cpus: 2,
            devices: Vec::new(),
            place: place.clone(),
            on_line: None,
        };
        let speed = speed::speed(&inside)?;
        Ok(Disks {
            arch,
            place,
            image: disk,
            kernel: kit.kernel[..512].to_vec(),
            speed,
        })
    }

    fn machine(&self, name: &str) -> anyhow::Result<Machine> {
        Ok(Machine::new(&self.place, name, self.arch, &self.image)?)
    }
}

fn slot(role: Role) -> Span {
    span(role, Firmware::Uefi)
}

fn clear(disk: &Path, at: u64, len: usize) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).open(disk)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(file.write_all(&vec![0; len])?)
}

/// Overwrites a sector of a partition, which is found by its contents.
fn overwrite(disk: &Path, role: Role, old: &[u8], new: &[u8; 512]) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(disk)?;
    let place = span(role, Firmware::Uefi);
    let mut bytes = vec![0; usize::try_from(place.len)?];
    file.seek(SeekFrom::Start(place.start))?;
    file.read_exact(&mut bytes)?;
    let at = bytes.chunks_exact(512).position(|sector| sector == old);
    let at = at.context("the partition has no such sector")? as u64;
    file.seek(SeekFrom::Start(place.start + at * 512))?;
    Ok(file.write_all(new)?)
}
