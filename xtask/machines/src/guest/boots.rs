//! Boots the appliance's own init with a stand-in for the platform, and checks that init serves, restarts processes
//! that die, stops feeding the watchdog when the platform hangs, requests an address, and takes care of its data.
//! [`BOOTS`] lists the boots.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hearth_image::board::{Board, Firmware};
use hearth_image::gpt::{Entry, Gpt};
use hearth_image::guid::Guid;
use hearth_image::layout::{MIB, Role, SECTOR, span};
use hearth_image::{fat, sparse};
use hearth_qemu_tests::{Arch, Boot as Start, Guest, Initramfs, Inside, Owner, Spec, Speed};

use crate::kit;
use crate::programs::{INIT, NET, PLATFORM, Program, build};
use xtask::clock;
use xtask::sh::{run, say};

/// The programs of the appliance, and their paths.
const PROGRAMS: &[(Program, &str)] = &[
    (INIT, "/init"),
    (NET, "/bin/hearth-net"),
    (PLATFORM, "/bin/hearth"),
];

/// Time limit from the start to the platform, on an idle host.
const BOOT: Duration = Duration::from_secs(30);

/// The disk that a boot finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    /// No disk.
    None,
    /// A disk to which an image has just been written, with these settings.
    Fresh(&'static str),
    /// The disk as the boot before has left it.
    Kept,
    /// The same with its data partition overwritten, which e2fsck cannot repair.
    Ruined,
    /// The same with a wrong checksum, which e2fsck repairs.
    Damaged,
    /// The same with an error that the file system has recorded, and one that e2fsck repairs only on request.
    Faulty,
}

/// One boot.
struct Boot {
    /// The name in messages, and of the log.
    name: &'static str,
    /// The order to the stand-in.
    order: &'static str,
    disk: Disk,
    /// Lines that the console must print, in this order.
    expect: &'static [&'static str],
    /// A line that must not be among the last ones.
    never: Option<&'static str>,
}

const BOOTS: &[Boot] = &[
    Boot {
        name: "no-disk",
        order: "restart",
        disk: Disk::None,
        expect: &[
            "NO DISK",
            "lives in 0::/hearth",
            "the platform is ready",
            "SIGTERM from process",
            "the machine restarts",
            "reboot: Restarting system",
        ],
        never: None,
    },
    Boot {
        name: "crash",
        order: "crash",
        disk: Disk::None,
        expect: &[
            "hearth was ended by SIGABRT",
            "what it left running was ended",
            "lives again; left behind: 0",
        ],
        never: None,
    },
    Boot {
        name: "deaths",
        order: "die",
        disk: Disk::None,
        expect: &[
            "hearth ended with status 3",
            "hearth died too often: restart",
            "reboot: Restarting system",
        ],
        never: None,
    },
    Boot {
        name: "hang",
        order: "hang",
        disk: Disk::None,
        expect: &[
            "hangs now",
            "no word of health for 20 seconds: the watchdog is not fed any more",
        ],
        // The hardware watchdog must end it instead.
        never: Some("the machine restarts"),
    },
    Boot {
        name: "first",
        order: "keep",
        disk: Disk::Fresh("hostname: kitchen\n"),
        expect: &[
            "find the disk that was started from: vda, slot a",
            "vda5 has ",
            "grow the file system on vda5: /data has ",
            "from the FAT partition",
            "kept: false",
            "the end",
        ],
        never: None,
    },
    Boot {
        name: "second",
        order: "keep",
        disk: Disk::Kept,
        expect: &[
            "seed the kernel's chance: with the saved one",
            "kept: true",
            "the end",
        ],
        never: None,
    },
    Boot {
        name: "damaged",
        order: "keep",
        disk: Disk::Damaged,
        expect: &[
            "data was damaged, and has been repaired",
            "kept: true",
            "the end",
        ],
        never: None,
    },
    Boot {
        name: "faulty",
        order: "keep",
        disk: Disk::Faulty,
        expect: &[
            "/dev/vda5 has recorded faults",
            "RUN fsck MANUALLY",
            "data was damaged, and has been repaired",
            "kept: true",
            "the end",
        ],
        never: None,
    },
    Boot {
        name: "ruined",
        order: "reset",
        disk: Disk::Ruined,
        expect: &[
            "DATA WAS MADE ANEW",
            "grow the file system on vda5: /data has ",
            "the end",
        ],
        never: None,
    },
    Boot {
        name: "reset",
        order: "keep",
        disk: Disk::Kept,
        expect: &[
            "a factory reset is asked for there",
            "data was made anew: a factory reset was asked for",
            "kept: false",
            "the end",
        ],
        never: None,
    },
    Boot {
        name: "settings",
        order: "serve",
        disk: Disk::Fresh("hostname: not_valid\n"),
        expect: &[
            "the settings of the FAT partition are not valid",
            "choose the settings (device.yaml): from the image",
            "== appliance, appliance.local",
            // From QEMU's DHCP server.
            "== https://10.0.2.15/",
        ],
        never: None,
    },
];

/// Runs all boots.
pub(super) fn test(inside: &Inside, speed: Speed) -> anyhow::Result<()> {
    let arch = inside.arch;
    let board = match arch {
        Arch::X86_64 => Board::QemuX86_64,
        Arch::Aarch64 => Board::QemuAarch64,
    };
    let pristine = kit::data(board)?;
    let initramfs = inside.place.join("appliance.cpio.zst");
    fs::create_dir_all(&inside.place)?;
    fs::write(&initramfs, root(arch, board, &pristine)?.archive_zstd(1)?)?;
    let disk = inside.place.join("appliance.disk");
    let all = |with_disk: bool| -> anyhow::Result<()> {
        let is_one = |boot: &&Boot| (boot.disk != Disk::None) == with_disk;
        for boot in BOOTS.iter().filter(is_one) {
            let begun = Instant::now();
            prepare(boot.disk, &disk, &pristine)?;
            let spec = spec(inside, boot, &initramfs, &disk, speed);
            one(boot, &spec).with_context(|| format!("the boot {}", boot.name))?;
            let took = clock::took(begun);
            say(&format!(
                "guest {arch}: boot {} passed in {took}",
                boot.name
            ));
        }
        Ok(())
    };
    // Boots without a disk mostly wait for a watchdog. Boots with a disk depend on the one before.
    std::thread::scope(|scope| {
        let without = scope.spawn(|| all(false));
        let with = all(true);
        without.join().expect("a boot does not panic").and(with)
    })?;
    Ok(fs::remove_file(&disk)?)
}

fn one(boot: &Boot, spec: &Spec) -> anyhow::Result<()> {
    let mut guest = Guest::start(spec)?;
    for line in boot.expect {
        guest.expect(line, BOOT)?;
    }
    let ends = !matches!(boot.order, "serve" | "crash");
    if ends {
        guest.wait_off(BOOT)?;
    }
    let tail = guest.tail();
    if let Some(never) = boot.never {
        ensure!(!tail.contains(never), "{never:?} in:\n{tail}");
    }
    Ok(())
}

fn spec(inside: &Inside, boot: &Boot, initramfs: &Path, disk: &Path, speed: Speed) -> Spec {
    let mut words = format!(
        // The address must come from DHCP, not from the kernel.
        "ip=off quiet loglevel=4 platform={}",
        boot.order
    );
    let mut devices = ["-device", "i6300esb", "-action", "watchdog=reset"]
        .map(str::to_owned)
        .to_vec();
    if boot.disk != Disk::None {
        words.push_str(&format!(" hearth.origin={}", guid(Role::SlotA)));
        let file = disk.display();
        let drive = format!("if=none,id=disk,format=raw,discard=unmap,file={file}");
        devices.extend(["-drive".to_owned(), drive]);
        devices.extend(["-device", "virtio-blk-pci,drive=disk"].map(str::to_owned));
    }
    Spec {
        name: format!("{}-init-{}", inside.arch.name(), boot.name),
        arch: inside.arch,
        boot: Start::Kernel {
            kernel: inside.kernel.clone(),
            initramfs: initramfs.to_owned(),
            command_line: words,
        },
        memory: 256,
        cpus: inside.cpus,
        devices,
        ports: Vec::new(),
        tap: None,
        logs: inside.place.clone(),
        speed,
        on_line: None,
    }
}

/// Returns the contents of an image's initramfs, with the stand-in as the platform.
fn root(arch: Arch, board: Board, pristine: &[u8]) -> anyhow::Result<Initramfs> {
    let programs: Vec<Program> = PROGRAMS.iter().map(|(program, _)| *program).collect();
    let built = build(arch, &programs)?;
    let mut root = Initramfs::new();
    let read =
        |path: &PathBuf| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    for ((_, place), path) in PROGRAMS.iter().zip(&built) {
        root.file(place, read(path)?, Owner::ROOT, 0o755)?;
    }
    let e2fsck = kit::e2fsck(arch)?;
    root.file("/sbin/e2fsck", read(&e2fsck)?, Owner::ROOT, 0o755)?;
    let release = format!(
        r#"{{"version":"0.1.0","board":"{board}","arch":"{}","built":1790000000,"kernel":""}}"#,
        arch.name()
    );
    let files: [(&str, Vec<u8>); 3] = [
        ("/usr/share/hearth/data.sparse", sparse::encode(pristine)),
        ("/etc/hearth/release.json", release.into_bytes()),
        ("/etc/hearth/device.yaml", b"hostname: appliance\n".to_vec()),
    ];
    for (place, content) in files {
        root.file(place, content, Owner::ROOT, 0o644)?;
    }
    root.link("/etc/resolv.conf", "/run/hearth/resolv.conf")?;
    for place in [
        "/proc", "/sys", "/dev", "/run", "/tmp", "/data", "/boot", "/root",
    ] {
        root.directory(place, Owner::ROOT, 0o755)?;
    }
    Ok(root)
}

/// A partition's GUID, which is the same in every test.
fn guid(role: Role) -> Guid {
    Guid::new(
        role.number(Firmware::Uefi),
        0x6865,
        0x4172,
        0x8000_7468_2d74_6573,
    )
}

/// Brings the disk into the state that a boot must find.
fn prepare(state: Disk, place: &Path, pristine: &[u8]) -> anyhow::Result<()> {
    let at = |role| span(role, Firmware::Uefi).start;
    let opened = || File::options().read(true).write(true).open(place);
    match state {
        Disk::None | Disk::Kept => Ok(()),
        Disk::Fresh(settings) => fresh(settings, place, pristine),
        Disk::Ruined => {
            let mut disk = opened()?;
            disk.seek(SeekFrom::Start(at(Role::Data)))?;
            // This overwrites superblock, descriptors, inodes, and all copies of them.
            let mut left = disk.metadata()?.len() - at(Role::Data) - MIB;
            let noise: Vec<u8> = (0..MIB).map(|at| (at * 37 % 251) as u8).collect();
            while left > 0 {
                let piece = left.min(MIB);
                disk.write_all(&noise[..usize::try_from(piece)?])?;
                left -= piece;
            }
            Ok(())
        }
        Disk::Damaged => {
            let mut disk = opened()?;
            // The checksum of the first group descriptor (fs/ext4/ext4.h), without which the file system cannot be
            // mounted.
            let sum = SeekFrom::Start(at(Role::Data) + 4096 + 0x1e);
            let mut bytes = [0; 2];
            disk.seek(sum)?;
            disk.read_exact(&mut bytes)?;
            disk.seek(sum)?;
            Ok(disk.write_all(&bytes.map(|byte| byte ^ 0x55))?)
        }
        Disk::Faulty => {
            let place = format!("{}?offset={}", place.display(), at(Role::Data));
            // Inode 11 is lost+found.
            for request in ["set_super_value state 2", "set_inode_field <11> block[0] 1"] {
                run("debugfs", &["-w", "-R", request, &place])?;
            }
            Ok(())
        }
    }
}

fn fresh(settings: &str, place: &Path, pristine: &[u8]) -> anyhow::Result<()> {
    const SIZE: u64 = 512 * MIB;
    // The file must have no contents of an earlier disk.
    let _ = fs::remove_file(place);
    let mut disk = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(place)?;
    disk.set_len(SIZE)?;
    let entries = Role::ALL.map(|role| {
        let number = role.number(Firmware::Uefi);
        Entry::new(number, role, guid(role), span(role, Firmware::Uefi))
    });
    let table = Gpt::new(Guid::new(9, 9, 9, 9), entries.to_vec());
    table.write(&mut disk, SIZE / SECTOR)?;
    let files = [("device.yaml".to_owned(), settings.as_bytes().to_vec())];
    let files = files.into_iter().collect();
    let esp = fat::make("hearth", span(Role::Esp, Firmware::Uefi).len, 1, &files)?;
    for (role, bytes) in [(Role::Esp, esp.bytes.as_slice()), (Role::Data, pristine)] {
        disk.seek(SeekFrom::Start(span(role, Firmware::Uefi).start))?;
        disk.write_all(bytes)?;
    }
    Ok(())
}
