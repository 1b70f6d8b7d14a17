//! Assembles an image from a kit, a manifest and its functions: slot, ESP and partition table.
//!
//! All of it is pure, except that `Image::write` writes to a disk. The same contents always give the same bytes.

use std::fmt;
use std::io::{self, SeekFrom};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::autoboot::{Autoboot, Slot};
use crate::board::Firmware;
use crate::disk::{Disk, DiskError};
use crate::fat::{self, Fat, FatError, Files};
use crate::gpt::{Entry, Gpt};
use crate::guid::Guid;
use crate::initramfs::{Initramfs, InitramfsError, Owner};
use crate::kit::{Kit, Node, Tree};
use crate::layout::{self, Role, SECTOR};
use crate::mbr;
use crate::space::{Part, Space};
use crate::sparse;
use crate::uki::{self, UkiError};

/// The zstd level. A higher level costs a small device more memory for unpacking than it saves in size.
const LEVEL: i32 = 19;

/// Directories that are mount points or that programs expect, with their modes.
const EMPTY: [(&str, u32); 8] = [
    ("proc", 0o755),
    ("sys", 0o755),
    ("dev", 0o755),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("data", 0o755),
    ("boot", 0o755),
    ("root", 0o700),
];

/// The contents of an image.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Everything that the board contributes.
    pub kit: Kit,
    /// The system's version, as users see it.
    pub version: String,
    /// Build time in seconds of Unix time. A device's clock never shows an earlier time.
    pub built: u64,
    /// The files below `/factory`: `edge.yaml` and the files that it names.
    pub factory: Tree,
    /// `device.yaml`, if the image sets it.
    pub device: Option<Vec<u8>>,
    /// Certificates of authorities in PEM, to use instead of the kit's.
    pub authorities: Option<Vec<u8>>,
}

/// The `device.yaml` of an image without settings: a template for the user.
const NO_SETTINGS: &str = "\
# Settings of this device; a change holds from the next start. Take the `#` away from what you want.
#
#hostname: kitchen
#network:
#  mode: static
#  address: 192.168.1.5/24
#  gateway: 192.168.1.1
#  dns: [9.9.9.9]
";

/// The `config.txt` of a Pi's firmware, for kits without one.
const CONFIG: &str = "\
arm_64bit=1
kernel=kernel8.img
initramfs initramfs followkernel
enable_uart=1
";

/// `/etc/hearth/release.json`.
#[derive(Serialize)]
struct Release<'a> {
    version: &'a str,
    board: &'a str,
    arch: &'a str,
    built: u64,
    kernel: &'a str,
}

/// Progress of [`assemble`].
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The root file system's files are being compressed; their size in bytes.
    Compress(u64),
    /// The file systems of slot and ESP are being made.
    LayOut,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Compress(bytes) => {
                write!(
                    f,
                    "compressing {:.1} MiB of files",
                    *bytes as f64 / 1048576.0
                )
            }
            Step::LayOut => f.write_str("laying out the slot"),
        }
    }
}

/// Why an image cannot be assembled.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file has a name that a root file system cannot hold, or its path occurs twice.
    #[error("cannot put a file into the root file system")]
    Root(#[from] InitramfsError),
    /// The version contains characters that are not allowed, or is too long.
    #[error(
        "{0:?} is no version: it has letters, digits, `.`, `-`, `+`, `_`, and up to 64 of them"
    )]
    Version(String),
    /// The kit's stub is not a valid stub.
    #[error("cannot put kernel and root file system behind the kit's stub")]
    Uki(#[from] UkiError),
    /// The system is larger than a slot.
    #[error(
        "the system has {wanted} bytes, and a slot has room for {room}: leave functions out, or make \
         them smaller (`hearth build --smallest` shows by how much)"
    )]
    Full {
        /// Bytes that the system needs.
        wanted: u64,
        /// Bytes that a slot can hold.
        room: u64,
        /// The space that each part takes.
        space: Box<Space>,
    },
    /// A file system cannot be made.
    #[error(transparent)]
    Fat(#[from] FatError),
    /// The pristine data file system is not as large as the data partition.
    #[error("the kit's data.ext4 has {found} bytes, and its partition {wanted}")]
    Data {
        /// Its size in bytes.
        found: u64,
        /// The partition's size in bytes.
        wanted: u64,
    },
}

/// An assembled image, not yet written.
#[derive(Clone, Debug)]
pub struct Image {
    firmware: Firmware,
    esp: Fat,
    slot: Fat,
    data: Vec<u8>,
    seed: Seed,
    /// The space that each part takes.
    pub space: Space,
}

/// The hash of an image's contents, from which its GUIDs and volume numbers are derived.
#[derive(Clone, Copy, Debug)]
struct Seed([u8; 32]);

impl Seed {
    fn of<'a>(parts: impl Iterator<Item = (&'a str, &'a [u8])>) -> Seed {
        let mut hash = Sha256::new();
        for (name, bytes) in parts {
            for part in [name.as_bytes(), bytes] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        Seed(hash.finalize().into())
    }

    fn bytes(self, name: &str) -> [u8; 16] {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(self.0)
            .chain_update(name)
            .finalize()
            .into();
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        half
    }

    fn guid(self, name: &str) -> Guid {
        Guid::of_hash(self.bytes(name))
    }

    fn number(self, name: &str) -> u32 {
        let bytes = self.bytes(name);
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// Assembles an image. `step` is called at the start of each step.
pub fn assemble(contents: &Contents, step: &mut dyn FnMut(Step)) -> Result<Image, BuildError> {
    let firmware = contents.kit.board.firmware();
    let wanted = layout::span(Role::Data, firmware).len;
    let found = contents.kit.data.len() as u64;
    if found != wanted {
        return Err(BuildError::Data { found, wanted });
    }
    let mut space = Space::new(contents);
    let (files, initramfs) = slot_files(contents, &mut space, step)?;
    step(Step::LayOut);
    let esp_files = esp_files(contents);
    let all = files.iter().chain(&esp_files);
    let all = all.map(|(name, bytes)| (name.as_str(), &**bytes));
    let seed = Seed::of(all.chain([("data", &*contents.kit.data)]));
    let len = |role| layout::span(role, firmware).len;
    let slot = fat::make("slot", len(Role::SlotA), seed.number("slot"), &files);
    let slot = match slot {
        Err(FatError::Full { wanted, room, .. }) => {
            let space = Box::new(space);
            return Err(BuildError::Full {
                wanted,
                room,
                space,
            });
        }
        other => other?,
    };
    let esp = fat::make("hearth", len(Role::Esp), seed.number("esp"), &esp_files)?;
    space.initramfs_compressed = initramfs;
    space.slot_used = slot.used;
    space.image = layout::image_len(firmware);
    Ok(Image {
        firmware,
        esp,
        slot,
        data: contents.kit.data.clone(),
        seed,
        space,
    })
}

fn is_version(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-+_".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Returns the files of a slot, and the compressed size of the root file system in bytes.
fn slot_files(
    contents: &Contents,
    space: &mut Space,
    step: &mut dyn FnMut(Step),
) -> Result<(Files, u64), BuildError> {
    let kit = &contents.kit;
    if !is_version(&contents.version) {
        return Err(BuildError::Version(contents.version.clone()));
    }
    let root = root(contents, space)?;
    step(Step::Compress(space.initramfs()));
    let initramfs = root.archive_zstd(LEVEL)?;
    let compressed = initramfs.len() as u64;
    space.parts.insert(0, Part::new("kernel", kit.kernel.len()));
    let os_release = os_release(contents);
    let mut files = Files::new();
    match kit.board.firmware() {
        Firmware::Uefi => {
            let uki = uki::assemble(
                &kit.stub,
                &[
                    (".osrel", os_release.as_bytes()),
                    (".uname", kit.about.kernel.as_bytes()),
                    (".cmdline", kit.cmdline.as_bytes()),
                    (".linux", &kit.kernel),
                    (".initrd", &initramfs),
                ],
            )?;
            space.parts.insert(1, Part::new("stub", kit.stub.len()));
            files.insert("hearth.efi".to_owned(), uki);
        }
        Firmware::Pi => {
            files.extend(kit.firmware.clone());
            files
                .entry("config.txt".to_owned())
                .or_insert_with(|| CONFIG.into());
            let brought = kit.firmware.values().map(Vec::len).sum();
            space.parts.insert(1, Part::new("firmware", brought));
            files.insert("kernel8.img".to_owned(), kit.kernel.clone());
            files.insert("initramfs".to_owned(), initramfs);
            files.insert(
                "cmdline.txt".to_owned(),
                format!("{}\n", kit.cmdline).into(),
            );
            files.insert("os-release".to_owned(), os_release.into());
        }
    }
    Ok((files, compressed))
}

/// The contents of os-release(5), for general tools and for `hearth image run`.
fn os_release(contents: &Contents) -> String {
    let kit = &contents.kit;
    format!(
        "ID=hearth\nNAME=Hearth\nPRETTY_NAME=\"Hearth {0}\"\nVERSION_ID={0}\nHEARTH_BOARD={1}\n\
         HEARTH_ARCH={2}\n",
        contents.version,
        kit.board,
        kit.board.arch()
    )
}

/// Builds the root file system.
fn root(contents: &Contents, space: &mut Space) -> Result<Initramfs, BuildError> {
    let kit = &contents.kit;
    let mut files = Tree::new();
    for (path, mode) in EMPTY {
        files.insert(path.to_owned(), Node::Directory(mode));
    }
    files.extend(kit.root.clone());
    let release = Release {
        version: &contents.version,
        board: kit.board.name(),
        arch: kit.board.arch().name(),
        built: contents.built,
        kernel: &kit.about.kernel,
    };
    // Serializing a structure of strings and numbers cannot fail.
    let release = serde_json::to_vec(&release).unwrap_or_default();
    let file = |bytes: &[u8]| Node::File(0o644, bytes.to_vec());
    files.insert("etc/hearth/release.json".to_owned(), file(&release));
    if let Some(device) = &contents.device {
        files.insert("etc/hearth/device.yaml".to_owned(), file(device));
    }
    if let Some(authorities) = &contents.authorities {
        let path = "etc/ssl/certs/ca-certificates.crt".to_owned();
        files.insert(path, file(authorities));
    }
    let pristine = Node::File(0o644, sparse::encode(&kit.data));
    files.insert("usr/share/hearth/data.sparse".to_owned(), pristine);
    for (path, node) in &contents.factory {
        files.insert(format!("factory/{path}"), node.clone());
    }
    let mut root = Initramfs::new();
    for (path, node) in files {
        let path = format!("/{path}");
        match node {
            Node::Directory(mode) => root.directory(&path, Owner::ROOT, mode)?,
            Node::Link(target) => root.link(&path, &target)?,
            Node::File(mode, bytes) => {
                space.parts.push(Part::new(&path, bytes.len()));
                root.file(&path, bytes, Owner::ROOT, mode)?;
            }
        }
    }
    Ok(root)
}

fn esp_files(contents: &Contents) -> Files {
    let kit = &contents.kit;
    let mut files = Files::new();
    let text = Autoboot::committed(Slot::A).text();
    files.insert("autoboot.txt".to_owned(), text.to_vec());
    if kit.board.firmware() == Firmware::Uefi {
        let path = format!("EFI/BOOT/{}", kit.board.arch().boot_file());
        files.insert(path, kit.selector.clone());
    }
    let device = contents.device.clone();
    let device = device.unwrap_or_else(|| NO_SETTINGS.as_bytes().to_vec());
    files.insert("device.yaml".to_owned(), device);
    files
}

impl Image {
    /// Writes the image to a disk or file that is all zeros and [`Space::image`] bytes long. `done` is called with
    /// the number of bytes written so far.
    pub fn write(&self, disk: &mut impl Disk, done: &mut dyn FnMut(u64)) -> Result<(), DiskError> {
        let mut written = 0;
        for (role, bytes) in [
            (Role::Esp, &self.esp.bytes),
            (Role::SlotA, &self.slot.bytes),
            (Role::Data, &self.data),
        ] {
            let start = layout::span(role, self.firmware).start;
            for (at, chunk) in (0..).zip(bytes.chunks(CHUNK)) {
                written += chunk.len() as u64;
                // Blocks of zeros are not written, so that the file stays sparse.
                if chunk.iter().any(|byte| *byte != 0) {
                    put(disk, start + at * CHUNK as u64, chunk).map_err(DiskError::Write)?;
                }
                done(written);
            }
        }
        match self.firmware {
            Firmware::Uefi => {
                let entries = Role::ALL.map(|role| {
                    let guid = self.seed.guid(role.label());
                    let span = layout::span(role, self.firmware);
                    Entry::new(role.number(self.firmware), role, guid, span)
                });
                let table = Gpt::new(self.seed.guid("disk"), entries.to_vec());
                table.write(disk, self.space.image / SECTOR)
            }
            Firmware::Pi => mbr::write(disk, self.seed.number("disk")),
        }
    }
}

const CHUNK: usize = 64 * 1024;

fn put(disk: &mut impl Disk, at: u64, bytes: &[u8]) -> io::Result<()> {
    disk.seek(SeekFrom::Start(at))?;
    disk.write_all(bytes)
}
