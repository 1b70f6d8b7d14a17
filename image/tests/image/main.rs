//! Tests of images that are made from a small kit, with common tools: sgdisk, sfdisk, mtools, fsck.fat, e2fsck, cpio.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test that cannot go on fails"
)]

#[path = "../kit/mod.rs"]
mod kit;
mod kits;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use hearth_image::assemble::{BuildError, Contents, Image, Step, assemble};
use hearth_image::board::Firmware;
use hearth_image::kit::{Kit, Node, Tree, pack};
use hearth_image::layout::{self, MIB, Role};
use hearth_image::uki::Uki;
use hearth_image::{Board, disk, fat, sparse};

use kit::{Scratch, noise, run, tree};

fn contents(scratch: &Scratch, board: Board, worker: Vec<u8>) -> Contents {
    let packed = pack(&tree(scratch, board), 1).unwrap();
    let kit = Kit::read(Path::new("test.kit"), &*packed).unwrap();
    let mut factory = Tree::new();
    let manifest = b"service: test\n".to_vec();
    factory.insert("edge.yaml".to_owned(), Node::File(0o644, manifest));
    factory.insert("bin/a".to_owned(), Node::File(0o755, worker));
    Contents {
        version: "1.2.3".to_owned(),
        built: 1_700_000_001,
        kit,
        factory,
        device: Some(b"hostname: kitchen\n".to_vec()),
        authorities: None,
    }
}

fn image(scratch: &Scratch, board: Board) -> Image {
    let contents = contents(scratch, board, noise(50_000));
    assemble(&contents, &mut |_| ()).unwrap()
}

fn write(image: &Image, path: &Path) {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    let mut file = options.open(path).unwrap();
    file.set_len(image.space.image).unwrap();
    let mut last = 0;
    let mut told = |written: u64| {
        assert!(written > last);
        last = written;
    };
    image.write(&mut file, &mut told).unwrap();
    let spans = [Role::Esp, Role::SlotA, Role::Data];
    let all = spans.map(|role| layout::span(role, Firmware::Uefi).len);
    assert_eq!(last, all.iter().sum::<u64>());
}

/// Copies the bytes of a partition to a file.
fn cut(scratch: &Scratch, image: &Path, role: Role, firmware: Firmware) -> std::path::PathBuf {
    let span = layout::span(role, firmware);
    let bytes = fs::read(image).unwrap();
    let path = scratch.path(role.label());
    fs::write(&path, &bytes[span.start as usize..span.end() as usize]).unwrap();
    path
}

/// Unpacks the root file system with cpio, and returns its directory.
fn unpack(scratch: &Scratch, initramfs: &[u8]) -> std::path::PathBuf {
    let root = scratch.path("root");
    fs::create_dir(&root).unwrap();
    let archive = zstd::decode_all(initramfs).unwrap();
    let mut cpio = Command::new("cpio")
        .args(["-idm", "--quiet", "--no-absolute-filenames"])
        .current_dir(&root)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    cpio.stdin.take().unwrap().write_all(&archive).unwrap();
    assert!(cpio.wait().unwrap().success());
    root
}

fn look_at_root(root: &Path, board: Board, pristine: &[u8]) {
    let read = |path: &str| fs::read(root.join(path)).unwrap();
    assert_eq!(read("factory/edge.yaml"), b"service: test\n");
    assert_eq!(read("factory/bin/a"), noise(50_000));
    assert_eq!(read("etc/hearth/device.yaml"), b"hostname: kitchen\n");
    let release = format!(
        r#"{{"version":"1.2.3","board":"{board}","arch":"{}","built":1700000001,"kernel":"6.12.0"}}"#,
        board.arch()
    );
    assert_eq!(read("etc/hearth/release.json"), release.as_bytes());
    for empty in ["proc", "sys", "dev", "run", "tmp", "data", "boot", "root"] {
        assert_eq!(fs::read_dir(root.join(empty)).unwrap().count(), 0);
    }
    let link = fs::read_link(root.join("etc/resolv.conf")).unwrap();
    assert_eq!(link, Path::new("/run/hearth/resolv.conf"));
    let mode = run("stat", &["-c", "%a", root.join("init").to_str().unwrap()]);
    assert_eq!(mode.trim(), "755");
    let records = read("usr/share/hearth/data.sparse");
    assert!(records.len() < pristine.len() / 20, "{}", records.len());
    let mut remade = std::io::Cursor::new(vec![0xee; pristine.len()]);
    sparse::apply(&*records, &mut remade, pristine.len() as u64).unwrap();
    assert!(remade.into_inner() == pristine);
}

#[test]
fn an_image_for_uefi_is_what_every_tool_expects() {
    let scratch = Scratch::new();
    let board = Board::QemuX86_64;
    let image = image(&scratch, board);
    let path = scratch.path("edge.img");
    write(&image, &path);
    let shown = path.to_str().unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 48 * MIB);

    let verified = run("sgdisk", &["-v", shown]);
    assert!(verified.contains("No problems found"), "{verified}");
    let table: serde_json::Value =
        serde_json::from_str(&run("sfdisk", &["--json", shown])).unwrap();
    let table = &table["partitiontable"];
    assert_eq!(table["label"], "gpt");
    let partitions = table["partitions"].as_array().unwrap();
    for (role, partition) in Role::ALL.into_iter().zip(partitions) {
        let span = layout::span(role, Firmware::Uefi);
        assert_eq!(partition["name"], role.label());
        assert_eq!(partition["start"], span.start / 512);
        assert_eq!(partition["size"], span.len / 512);
    }
    assert_eq!(
        partitions[0]["type"],
        "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    );
    assert_eq!(
        partitions[4]["type"],
        "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
    );

    let esp = cut(&scratch, &path, Role::Esp, Firmware::Uefi);
    let slot = cut(&scratch, &path, Role::SlotA, Firmware::Uefi);
    for part in [&esp, &slot] {
        run("fsck.fat", &["-n", part.to_str().unwrap()]);
    }
    let listed = run("mdir", &["-/", "-b", "-i", esp.to_str().unwrap()]);
    for file in [
        "::/EFI/BOOT/BOOTX64.EFI",
        "::/autoboot.txt",
        "::/device.yaml",
    ] {
        assert!(listed.contains(file), "{listed}");
    }
    let text = run("mtype", &["-i", esp.to_str().unwrap(), "::/autoboot.txt"]);
    assert!(text.contains("boot_partition=2\n[tryboot]\nboot_partition=3\n"));
    let uki = scratch.path("hearth.efi");
    let into = uki.to_str().unwrap();
    run(
        "mcopy",
        &["-i", slot.to_str().unwrap(), "::/hearth.efi", into],
    );
    let uki = fs::read(uki).unwrap();
    assert_eq!(
        fat::read(&fs::read(&slot).unwrap(), "hearth.efi").unwrap(),
        uki
    );
    let section = |name: &str| Uki::parse(&uki).unwrap().section(name).unwrap().unwrap();
    assert_eq!(section(".cmdline"), b"console=ttyS0,115200 quiet");
    assert_eq!(section(".uname"), b"6.12.0");
    assert_eq!(section(".linux"), noise(300_000));
    let release = String::from_utf8_lossy(section(".osrel"));
    assert!(release.contains("VERSION_ID=1.2.3\nHEARTH_BOARD=qemu-x86_64\n"));

    let data = cut(&scratch, &path, Role::Data, Firmware::Uefi);
    run("e2fsck", &["-fn", data.to_str().unwrap()]);
    let root = unpack(&scratch, section(".initrd"));
    look_at_root(&root, board, &fs::read(data).unwrap());

    // On a larger disk.
    let mut disk = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    disk.set_len(120 * MIB).unwrap();
    disk::grow(&mut disk).unwrap();
    let verified = run("sgdisk", &["-v", shown]);
    assert!(verified.contains("No problems found"), "{verified}");
    let listed = run("sfdisk", &["-o", "name,size", "--bytes", "-l", shown]);
    let grown = (90 - 36) * MIB;
    assert!(listed.contains(&format!("data     {grown}")), "{listed}");
}

#[test]
fn an_image_for_a_pi_is_what_every_tool_expects() {
    let scratch = Scratch::new();
    let board = Board::Rpi4;
    let image = image(&scratch, board);
    let path = scratch.path("edge.img");
    write(&image, &path);
    let shown = path.to_str().unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 48 * MIB);

    let look = |data: u64| {
        let table: serde_json::Value =
            serde_json::from_str(&run("sfdisk", &["--json", shown])).unwrap();
        let table = &table["partitiontable"];
        assert_eq!(table["label"], "dos");
        let partitions = table["partitions"].as_array().unwrap();
        let kinds = ["c", "c", "c", "f", "da", "83"];
        for (partition, kind) in partitions.iter().zip(kinds) {
            assert_eq!(partition["type"], kind);
        }
        for role in Role::ALL {
            let span = layout::span(role, Firmware::Pi);
            let partition = &partitions[role.number(Firmware::Pi) as usize - 1];
            assert_eq!(partition["start"], span.start / 512, "{role:?}");
            if role != Role::Data {
                assert_eq!(partition["size"], span.len / 512);
            }
        }
        assert_eq!(partitions[5]["size"], data / 512);
        let verified = run("sfdisk", &["-V", shown]);
        assert!(verified.contains("No errors detected"), "{verified}");
    };
    look(10 * MIB);

    let first = cut(&scratch, &path, Role::Esp, Firmware::Pi);
    let slot = cut(&scratch, &path, Role::SlotA, Firmware::Pi);
    for part in [&first, &slot] {
        run("fsck.fat", &["-n", part.to_str().unwrap()]);
    }
    let listed = run("mdir", &["-/", "-b", "-i", slot.to_str().unwrap()]);
    for file in [
        "kernel8.img",
        "initramfs",
        "config.txt",
        "cmdline.txt",
        "bcm2711-rpi-4-b.dtb",
        "overlays/vc4.dtbo",
    ] {
        assert!(listed.contains(&format!("::/{file}\n")), "{listed}");
    }
    let listed = run("mdir", &["-/", "-b", "-i", first.to_str().unwrap()]);
    assert_eq!(listed, "::/autoboot.txt\n::/device.yaml\n");
    let initramfs = fat::read(&fs::read(&slot).unwrap(), "initramfs").unwrap();
    let data = cut(&scratch, &path, Role::Data, Firmware::Pi);
    let root = unpack(&scratch, &initramfs);
    look_at_root(&root, board, &fs::read(data).unwrap());

    let mut disk = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    disk.set_len(120 * MIB).unwrap();
    disk::grow(&mut disk).unwrap();
    look((90 - 37) * MIB);
}

#[test]
fn the_same_contents_are_the_same_image_and_others_have_other_numbers() {
    let scratch = Scratch::new();
    let mut last = Vec::new();
    for board in [Board::QemuX86_64, Board::Nuc, Board::Rpi4] {
        let mut images = Vec::new();
        for name in ["a", "b"] {
            let path = scratch.path(&format!("{name}-{board}"));
            write(&image(&scratch, board), &path);
            images.push(fs::read(path).unwrap());
        }
        assert!(images[0] == images[1], "{board}");
        let path = scratch.path(&format!("a-{board}"));
        let table = disk::read(&mut File::open(path).unwrap()).unwrap();
        let uuid = table.find(Role::SlotA).unwrap().uuid.clone();
        assert!(!last.contains(&uuid));
        last.push(uuid);
    }
}

#[test]
fn more_than_a_slot_holds_is_refused_with_what_takes_the_space() {
    let scratch = Scratch::new();
    let large = contents(&scratch, Board::Nuc, noise(17 << 20));
    let mut steps = Vec::new();
    let refused = assemble(&large, &mut |step| steps.push(step));
    let Err(BuildError::Full {
        wanted,
        room,
        space,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert!(wanted > 17 * MIB && room < 16 * MIB);
    let worker = space
        .parts
        .iter()
        .find(|part| part.name == "/factory/bin/a");
    assert_eq!(worker.unwrap().bytes, 17 * MIB);
    assert!(matches!(steps[0], Step::Compress(bytes) if bytes > 17 * MIB));
    let mut unnamed = contents(&scratch, Board::Nuc, Vec::new());
    unnamed.version = "1.0 final".to_owned();
    let refused = assemble(&unnamed, &mut |_| ());
    assert!(matches!(refused, Err(BuildError::Version(_))));
}
