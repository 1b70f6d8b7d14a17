//! A small kit for tests. Its programs do nothing, but its data file system and its stub are real.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use hearth_image::kit::{Node, Tree, pack};
use hearth_image::layout::{self, Role};
use hearth_image::{Board, Firmware};

/// A directory that is removed when this is dropped.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hearth-image-{}-{number}", std::process::id());
        let place = std::env::temp_dir().join(name);
        fs::create_dir(&place).unwrap();
        Scratch(place)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program that must succeed, and returns its output.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Bytes that do not compress (xorshift64).
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// An EFI program as a linker writes it: one section, and room for more section headers.
pub fn efi_program(board: Board) -> Vec<u8> {
    let machine: u16 = match board.arch() {
        hearth_image::Arch::X86_64 => 0x8664,
        hearth_image::Arch::Aarch64 => 0xaa64,
    };
    let mut bytes = vec![0; 0x600];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0, b"MZ");
    put(0x3c, &0x80u32.to_le_bytes());
    put(0x80, b"PE\0\0");
    put(0x84, &machine.to_le_bytes());
    put(0x86, &1u16.to_le_bytes());
    put(0x94, &240u16.to_le_bytes());
    let optional = 0x98;
    put(optional, &0x20bu16.to_le_bytes());
    for (at, value) in [
        (16, 0x1000u32),
        (32, 0x1000),
        (36, 0x200),
        (56, 0x2000),
        (60, 0x400),
        (108, 16),
    ] {
        put(optional + at, &value.to_le_bytes());
    }
    let section = optional + 240;
    put(section, b".text");
    for (at, value) in [
        (8, 0x10u32),
        (12, 0x1000),
        (16, 0x200),
        (20, 0x400),
        (36, 0x6000_0020),
    ] {
        put(section + at, &value.to_le_bytes());
    }
    bytes
}

/// The pristine data file system of a board. mke2fs gives a small file system no journal, so the file system is made
/// larger and then shrunk.
fn data(scratch: &Scratch, board: Board) -> Vec<u8> {
    let path = scratch.path("data.ext4");
    let len = layout::span(Role::Data, board.firmware()).len;
    let file = fs::File::create(&path).unwrap();
    file.set_len(2 * len).unwrap();
    let uuid = "8a4b1b0e-0d2b-4a52-9b5c-2f7a7c1d0001";
    let hash = format!("hash_seed={uuid}");
    let place = path.to_str().unwrap();
    let words = ["-q", "-F", "-b", "4096", "-J", "size=8", "-L", "data"];
    let mut make = Command::new("mkfs.ext4");
    make.args(words).args(["-U", uuid, "-E", &hash, place]);
    let mut shrink = Command::new("resize2fs");
    shrink.args([place, &format!("{}K", len / 1024)]);
    for command in [&mut make, &mut shrink] {
        // With a fixed time, resize2fs does not demand a check, and both programs write the same bytes each time.
        let done = command.env("E2FSPROGS_FAKE_TIME", "1700000000").output();
        let done = done.unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    file.set_len(len).unwrap();
    fs::read(path).unwrap()
}

/// The files of a kit.
pub fn tree(scratch: &Scratch, board: Board) -> Tree {
    let about = format!(
        r#"{{"format":1,"board":"{board}","arch":"{}","version":"0.1.0","kernel":"6.12.0","built":1700000000}}"#,
        board.arch()
    );
    let file = |bytes: &[u8]| Node::File(0o644, bytes.to_vec());
    let program = |name: &str| Node::File(0o755, format!("program {name}").into_bytes());
    let mut tree = Tree::new();
    let mut add = |path: &str, node: Node| drop(tree.insert(path.to_owned(), node));
    add("kit.json", file(about.as_bytes()));
    add("cmdline", file(b"console=ttyS0,115200 quiet\n"));
    add("kernel.efi", file(&noise(300_000)));
    add("data.ext4", Node::File(0o644, data(scratch, board)));
    add("root", Node::Directory(0o755));
    for name in ["init", "bin/hearth", "bin/hearth-net", "sbin/e2fsck"] {
        add(&format!("root/{name}"), program(name));
    }
    add(
        "root/etc/resolv.conf",
        Node::Link("/run/hearth/resolv.conf".to_owned()),
    );
    match board.firmware() {
        Firmware::Uefi => {
            add("stub.efi", file(&efi_program(board)));
            add("selector.efi", file(&efi_program(board)));
        }
        Firmware::Pi => {
            add("firmware/bcm2711-rpi-4-b.dtb", file(b"tree"));
            add("firmware/overlays/vc4.dtbo", file(b"overlay"));
        }
    }
    tree
}

/// Packs a kit into a file, for tests that run `hearth` with it.
#[allow(dead_code, reason = "not every test that has this does")]
pub fn write(path: &Path, tree: &Tree) {
    fs::write(path, pack(tree, 1).unwrap()).unwrap();
}
