//! The archive that the Linux kernel unpacks as its root file system: cpio in the `newc` format
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel). A pure function from entries to bytes;
//! the same entries always give the same bytes.

use std::collections::BTreeMap;
use std::io;

/// The owner of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Owner {
    /// The superuser.
    pub const ROOT: Owner = Owner { uid: 0, gid: 0 };
}

/// Why an entry cannot be added, or the archive cannot be compressed.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// The path is not absolute, or has an empty component, `.`, `..` or NUL.
    #[error("{0:?} is no plain absolute path")]
    Path(String),
    /// Two entries have the same path.
    #[error("{0} is there twice")]
    Twice(String),
    /// An entry lies below a path that is not a directory.
    #[error("{path} cannot be below {above}, which is no directory")]
    Below {
        /// The entry.
        path: String,
        /// The path that is not a directory.
        above: String,
    },
    /// The data is larger than the format's 32 bits can express.
    #[error("{path} has {bytes} bytes, more than an archive can say")]
    Large {
        /// The entry.
        path: String,
        /// Its size in bytes.
        bytes: usize,
    },
    /// The mode has more than twelve bits.
    #[error("{path} has mode {mode:o}, which is none")]
    Mode {
        /// The entry.
        path: String,
        /// The mode.
        mode: u32,
    },
    /// zstd failed.
    #[error("cannot compress the archive")]
    Compress(#[source] io::Error),
}

#[derive(Clone, Debug)]
enum Kind {
    Directory,
    File(Vec<u8>),
    Link(String),
}

impl Kind {
    /// The file type in `st_mode` (inode(7)).
    fn bits(&self) -> u32 {
        match self {
            Kind::Directory => 0o040_000,
            Kind::File(_) => 0o100_000,
            Kind::Link(_) => 0o120_000,
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Kind::Directory => &[],
            Kind::File(bytes) => bytes,
            Kind::Link(target) => target.as_bytes(),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    kind: Kind,
    owner: Owner,
    mode: u32,
}

/// The entries of an archive, by path. Parent directories are added automatically, owned by root and with mode 0755.
#[derive(Clone, Debug, Default)]
pub struct Initramfs {
    entries: BTreeMap<String, Entry>,
}

impl Initramfs {
    /// Creates an empty archive.
    pub fn new() -> Initramfs {
        Initramfs::default()
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &str, owner: Owner, mode: u32) -> Result<(), InitramfsError> {
        self.add(path, Kind::Directory, owner, mode)
    }

    /// Adds a file. `mode` may include the setuid, setgid and sticky bits.
    pub fn file(
        &mut self,
        path: &str,
        bytes: Vec<u8>,
        owner: Owner,
        mode: u32,
    ) -> Result<(), InitramfsError> {
        self.add(path, Kind::File(bytes), owner, mode)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), InitramfsError> {
        self.add(path, Kind::Link(target.to_owned()), Owner::ROOT, 0o777)
    }

    fn add(
        &mut self,
        path: &str,
        kind: Kind,
        owner: Owner,
        mode: u32,
    ) -> Result<(), InitramfsError> {
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        let relative = path
            .strip_prefix('/')
            .filter(|rest| rest.split('/').all(plain));
        let Some(relative) = relative else {
            return Err(InitramfsError::Path(path.to_owned()));
        };
        if mode & !0o7777 != 0 {
            let path = path.to_owned();
            return Err(InitramfsError::Mode { path, mode });
        }
        let bytes = kind.data().len();
        if u32::try_from(bytes).is_err() {
            let path = path.to_owned();
            return Err(InitramfsError::Large { path, bytes });
        }
        if self.entries.contains_key(relative) {
            return Err(InitramfsError::Twice(path.to_owned()));
        }
        for (end, _) in relative.match_indices('/') {
            let above = &relative[..end];
            let parent = self.entries.entry(above.to_owned()).or_insert(Entry {
                kind: Kind::Directory,
                owner: Owner::ROOT,
                mode: 0o755,
            });
            if !matches!(parent.kind, Kind::Directory) {
                return Err(InitramfsError::Below {
                    path: path.to_owned(),
                    above: format!("/{above}"),
                });
            }
        }
        let entry = Entry { kind, owner, mode };
        self.entries.insert(relative.to_owned(), entry);
        Ok(())
    }

    /// Returns the archive, uncompressed.
    pub fn archive(&self) -> Vec<u8> {
        let mut archive = Vec::new();
        for (inode, (path, entry)) in (1..).zip(&self.entries) {
            record(&mut archive, inode, path, Some(entry));
        }
        record(&mut archive, 0, "TRAILER!!!", None);
        archive
    }

    /// Returns the archive, compressed with zstd `level` (1 to 22). The kernel needs CONFIG_RD_ZSTD.
    pub fn archive_zstd(&self, level: i32) -> Result<Vec<u8>, InitramfsError> {
        zstd::encode_all(&*self.archive(), level).map_err(InitramfsError::Compress)
    }
}

/// Writes one entry, or the end of the archive: thirteen numbers of eight hexadecimal digits, then name and data,
/// each padded to a multiple of four bytes. Times and device numbers are 0.
fn record(archive: &mut Vec<u8>, inode: u32, path: &str, entry: Option<&Entry>) {
    let data = entry.map_or(&[][..], |entry| entry.kind.data());
    let mode = entry.map_or(0, |entry| entry.kind.bits() | entry.mode);
    let owner = entry.map_or(Owner::ROOT, |entry| entry.owner);
    let links = match entry.map(|entry| &entry.kind) {
        Some(Kind::Directory) => 2,
        Some(Kind::File(_) | Kind::Link(_)) | None => 1,
    };
    // `add` has checked the data's size; a path is far shorter than 4 GiB.
    let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let fields = [
        inode,
        mode,
        owner.uid,
        owner.gid,
        links,
        0,
        size(data.len()),
        0,
        0,
        0,
        0,
        size(path.len() + 1),
        0,
    ];
    archive.extend(b"070701");
    for field in fields {
        archive.extend(format!("{field:08x}").bytes());
    }
    archive.extend(path.bytes());
    archive.push(0);
    fill(archive);
    archive.extend(data);
    fill(archive);
}

fn fill(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Owner = Owner {
        uid: 1000,
        gid: 100,
    };

    /// Reads an archive with a parser that shares no code with the writer: path, mode, owner and data of each entry.
    fn read(mut archive: &[u8]) -> Vec<(String, u32, Owner, Vec<u8>)> {
        let whole = archive.len();
        let mut entries = Vec::new();
        loop {
            assert_eq!(&archive[..6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&archive[6 + 8 * n..14 + 8 * n]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (size, name) = (field(6) as usize, field(11) as usize);
            let (mode, owner) = (
                field(1),
                Owner {
                    uid: field(2),
                    gid: field(3),
                },
            );
            let path = String::from_utf8(archive[110..110 + name - 1].to_vec()).unwrap();
            assert_eq!(archive[110 + name - 1], 0);
            let at = whole - archive.len();
            let data = (at + 110 + name).next_multiple_of(4) - at;
            let bytes = archive[data..data + size].to_vec();
            let end = (at + data + size).next_multiple_of(4) - at;
            archive = &archive[end..];
            if path == "TRAILER!!!" {
                assert!(archive.is_empty());
                return entries;
            }
            entries.push((path, mode, owner, bytes));
        }
    }

    #[test]
    fn an_archive_has_every_entry_with_owner_and_mode_and_parents_come_first() {
        let mut root = Initramfs::new();
        root.file("/usr/bin/a", b"abc".to_vec(), USER, 0o4755)
            .unwrap();
        root.directory("/tmp", Owner::ROOT, 0o1777).unwrap();
        root.link("/usr/b", "bin/a").unwrap();
        let text = |bytes: &[u8]| bytes.to_vec();
        assert_eq!(
            read(&root.archive()),
            [
                ("tmp".to_owned(), 0o041_777, Owner::ROOT, text(b"")),
                ("usr".to_owned(), 0o040_755, Owner::ROOT, text(b"")),
                ("usr/b".to_owned(), 0o120_777, Owner::ROOT, text(b"bin/a")),
                ("usr/bin".to_owned(), 0o040_755, Owner::ROOT, text(b"")),
                ("usr/bin/a".to_owned(), 0o104_755, USER, text(b"abc")),
            ]
        );
    }

    #[test]
    fn an_archive_is_byte_for_byte_what_the_form_says() {
        let mut root = Initramfs::new();
        root.file("/init", b"x".to_vec(), Owner::ROOT, 0o755)
            .unwrap();
        let expect = "070701\
            00000001000081ed000000000000000000000001000000000000000100000000000000000000000000000000\
            0000000500000000init\0\0x\0\0\0\
            070701\
            00000000000000000000000000000000000000010000000000000000000000000000000000000000000000000\
            000000b00000000TRAILER!!!\0\0\0\0";
        let archive = root.archive();
        assert_eq!(String::from_utf8_lossy(&archive), expect);
    }

    #[test]
    fn what_a_kernel_would_misread_is_refused() {
        let mut root = Initramfs::new();
        for path in ["", "/", "a", "/a/", "//a", "/a/../b", "/./a", "/a\0b"] {
            let refused = root.directory(path, Owner::ROOT, 0o755);
            assert!(matches!(refused, Err(InitramfsError::Path(_))), "{path:?}");
        }
        root.file("/a", Vec::new(), Owner::ROOT, 0o644).unwrap();
        let below = root.file("/a/b", Vec::new(), Owner::ROOT, 0o644);
        assert!(matches!(below, Err(InitramfsError::Below { .. })));
        let twice = root.directory("/a", Owner::ROOT, 0o755);
        assert!(matches!(twice, Err(InitramfsError::Twice(_))));
        let mode = root.file("/b", Vec::new(), Owner::ROOT, 0o100_644);
        assert!(matches!(mode, Err(InitramfsError::Mode { .. })));
    }

    #[test]
    fn a_compressed_archive_is_the_same_archive() {
        let mut root = Initramfs::new();
        root.file("/zeros", vec![0; 1 << 20], Owner::ROOT, 0o600)
            .unwrap();
        let small = root.archive_zstd(3).unwrap();
        assert!(small.len() < 4096, "{}", small.len());
        assert_eq!(zstd::decode_all(&*small).unwrap(), root.archive());
    }
}
