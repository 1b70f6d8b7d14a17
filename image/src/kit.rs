//! A kit: all of a board that is the same for everyone's functions, in one file. Read, checked, and packed.
//!
//! It is a tar in zstd. `kit.json` says what it is; `kernel.efi`, `cmdline`, `data.ext4` and `root/` are in
//! every kit, `stub.efi` and `selector.efi` in those of boards with UEFI, `firmware/` in those of a Pi.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tar::EntryType;

use crate::board::{Board, Firmware};
use crate::fat::Files;

/// The only one there is.
const FORMAT: u32 = 1;

/// More than all of a kit can be; so a file that unpacks without end is found out.
const LARGEST: u64 = 256 << 20;

/// `kit.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Of kits as such.
    pub format: u32,
    /// The board's name.
    pub board: String,
    /// Its processor.
    pub arch: String,
    /// Of the platform in it.
    pub version: String,
    /// The kernel's version.
    pub kernel: String,
    /// When it was made, in seconds of Unix time.
    pub built: u64,
}

/// What can lie in a tree of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory, and its mode.
    Directory(u32),
    /// A file: mode and bytes.
    File(u32, Vec<u8>),
    /// A symbolic link, and where it leads.
    Link(String),
}

/// Files, directories and links by their paths, without a slash in front.
pub type Tree = BTreeMap<String, Node>;

/// A kit that is whole.
#[derive(Clone, Debug)]
pub struct Kit {
    /// What it says of itself.
    pub about: About,
    /// The board it is for.
    pub board: Board,
    /// The kernel's command line.
    pub cmdline: String,
    /// The kernel; an EFI program where the firmware is UEFI.
    pub kernel: Vec<u8>,
    /// What a slot's one file begins with; empty on a Pi.
    pub stub: Vec<u8>,
    /// What firmware starts; empty on a Pi.
    pub selector: Vec<u8>,
    /// The root file system.
    pub root: Tree,
    /// The pristine data file system.
    pub data: Vec<u8>,
    /// What lies in a Pi's slot as it is.
    pub firmware: Files,
}

/// Why there is no kit.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// It cannot be opened.
    #[error("cannot open the kit {}", kit.display())]
    Open {
        /// Where it should be.
        kit: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no tar in zstd, or is cut off.
    #[error("the kit {} cannot be unpacked", kit.display())]
    Unpack {
        /// Which.
        kit: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something is not in it.
    #[error("the kit {} has no {file}", kit.display())]
    Missing {
        /// Which.
        kit: PathBuf,
        /// What is missing.
        file: String,
    },
    /// Something in it is not as it should be.
    #[error("the kit {}: {file}: {what}", kit.display())]
    Bad {
        /// Which.
        kit: PathBuf,
        /// The file in it.
        file: String,
        /// What is wrong.
        what: String,
    },
}

impl Kit {
    /// Reads a kit's file.
    pub fn open(path: &Path) -> Result<Kit, KitError> {
        let file = File::open(path).map_err(|source| KitError::Open {
            kit: path.to_owned(),
            source,
        })?;
        Kit::read(path, file)
    }

    /// Reads a kit. `kit` is its name in messages.
    pub fn read(kit: &Path, from: impl Read) -> Result<Kit, KitError> {
        let mut tree = unpack(from).map_err(|source| KitError::Unpack {
            kit: kit.to_owned(),
            source,
        })?;
        let bad = |file: &str, what: String| KitError::Bad {
            kit: kit.to_owned(),
            file: file.to_owned(),
            what,
        };
        let mut take = |file: &str| match tree.remove(file) {
            Some(Node::File(_, bytes)) if bytes.is_empty() => {
                Err(bad(file, "it is empty".to_owned()))
            }
            Some(Node::File(_, bytes)) => Ok(bytes),
            Some(_) => Err(bad(file, "it is no file".to_owned())),
            None => Err(KitError::Missing {
                kit: kit.to_owned(),
                file: file.to_owned(),
            }),
        };
        let about: About = serde_json::from_slice(&take("kit.json")?)
            .map_err(|error| bad("kit.json", error.to_string()))?;
        if about.format != FORMAT {
            let what = format!("format {} is not known here, only {FORMAT}", about.format);
            return Err(bad("kit.json", what));
        }
        let board: Board = about
            .board
            .parse()
            .map_err(|unknown| bad("kit.json", format!("{unknown}")))?;
        if about.arch != board.arch().name() {
            let what = format!("{board} is {}, and not {}", board.arch(), about.arch);
            return Err(bad("kit.json", what));
        }
        let (stub, selector) = match board.firmware() {
            Firmware::Uefi => (take("stub.efi")?, take("selector.efi")?),
            Firmware::Pi => (Vec::new(), Vec::new()),
        };
        let (kernel, data) = (take("kernel.efi")?, take("data.ext4")?);
        let cmdline = String::from_utf8(take("cmdline")?)
            .map_err(|_| bad("cmdline", "it is no text".to_owned()))?;
        let cmdline = cmdline.trim().to_owned();
        if cmdline.contains(['\n', '\0']) {
            return Err(bad("cmdline", "it has more than one line".to_owned()));
        }
        let (mut root, mut firmware) = (Tree::new(), Files::new());
        for (path, node) in tree {
            if let Some(path) = path.strip_prefix("root/") {
                root.insert(path.to_owned(), node);
            } else if let Some(name) = path.strip_prefix("firmware/") {
                match node {
                    Node::File(_, bytes) => drop(firmware.insert(name.to_owned(), bytes)),
                    Node::Directory(_) => {}
                    Node::Link(_) => return Err(bad(&path, "a FAT has no links".to_owned())),
                }
            } else if path != "root" && path != "firmware" {
                return Err(bad(&path, "nothing of a kit has this name".to_owned()));
            }
        }
        for program in ["init", "bin/hearth", "bin/hearth-net", "sbin/e2fsck"] {
            let file = || format!("root/{program}");
            match root.get(program) {
                Some(Node::File(mode, _)) if mode & 0o111 != 0 => {}
                Some(_) => return Err(bad(&file(), "it is no program".to_owned())),
                None => {
                    return Err(KitError::Missing {
                        kit: kit.to_owned(),
                        file: file(),
                    });
                }
            }
        }
        Ok(Kit {
            about,
            board,
            cmdline,
            kernel,
            stub,
            selector,
            root,
            data,
            firmware,
        })
    }
}

/// What lies in a kit, by its paths; whether that is a whole kit, [`Kit::read`] tells.
pub fn unpack(from: impl Read) -> io::Result<Tree> {
    let fault = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let unpacked = zstd::Decoder::new(from)?;
    let mut archive = tar::Archive::new(unpacked.take(LARGEST));
    let mut tree = Tree::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|error| fault(format!("{error}: a name in it is no text")))?;
        let path = path.trim_start_matches("./").trim_end_matches('/');
        if path.is_empty() || path == "." {
            continue;
        }
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(fault(format!("{path:?} leads out of it")));
        }
        let mode = entry.header().mode()? & 0o7777;
        let node = match entry.header().entry_type() {
            EntryType::Directory => Node::Directory(mode),
            EntryType::Regular => {
                let mut bytes = Vec::new();
                entry
                    .read_to_end(&mut bytes)
                    .map_err(|error| fault(format!("{path}: {error}")))?;
                Node::File(mode, bytes)
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8(target.into_owned())
                    .map_err(|_| fault(format!("{path}: its target is no text")))?;
                Node::Link(target)
            }
            other => return Err(fault(format!("{path} is of type {other:?}"))),
        };
        if tree.insert(path.to_owned(), node).is_some() {
            return Err(fault(format!("{path} is in it twice")));
        }
    }
    Ok(tree)
}

/// Packs a kit: always the same bytes for the same tree. `level` is zstd's.
pub fn pack(tree: &Tree, level: i32) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), level)?);
    for (path, node) in tree {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        match node {
            Node::Directory(mode) => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(*mode);
                header.set_size(0);
                archive.append_data(&mut header, format!("{path}/"), io::empty())?;
            }
            Node::File(mode, bytes) => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(bytes.len() as u64);
                archive.append_data(&mut header, path, &**bytes)?;
            }
            Node::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                archive.append_link(&mut header, path, target)?;
            }
        }
    }
    archive.into_inner()?.finish()
}
