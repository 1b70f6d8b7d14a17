//! A kit: everything of a board that does not depend on the functions, in one file. This module reads, checks and
//! packs kits.
//!
//! A kit is a tar archive, compressed with zstd. `kit.json` describes it. `kernel.efi`, `cmdline`, `data.ext4` and
//! `root/` are in every kit, `stub.efi` and `selector.efi` in kits of boards with UEFI, `firmware/` in those of a Pi.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tar::EntryType;

use crate::board::{Board, Firmware};
use crate::fat::Files;

/// The only supported version of the kit format.
const FORMAT: u32 = 1;

/// The maximum size of an unpacked kit in bytes. It stops a file that would unpack without end.
const LARGEST: u64 = 256 << 20;

/// The contents of `kit.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of the kit format.
    pub format: u32,
    /// The board's name.
    pub board: String,
    /// The board's processor architecture.
    pub arch: String,
    /// The version of Hearth in the kit.
    pub version: String,
    /// The kernel's version.
    pub kernel: String,
    /// Build time in seconds of Unix time.
    pub built: u64,
}

/// An entry in a tree of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory: its mode.
    Directory(u32),
    /// A file: mode and bytes.
    File(u32, Vec<u8>),
    /// A symbolic link: its target.
    Link(String),
}

/// Files, directories and links by path, without a leading slash.
pub type Tree = BTreeMap<String, Node>;

/// A complete, checked kit.
#[derive(Clone, Debug)]
pub struct Kit {
    /// The contents of `kit.json`.
    pub about: About,
    /// The board that the kit is for.
    pub board: Board,
    /// The kernel's command line.
    pub cmdline: String,
    /// The kernel; an EFI program if the board has UEFI.
    pub kernel: Vec<u8>,
    /// The EFI program to which `hearth.efi` adds kernel and root file system; empty on a Pi.
    pub stub: Vec<u8>,
    /// The EFI program that the firmware starts; empty on a Pi.
    pub selector: Vec<u8>,
    /// The root file system.
    pub root: Tree,
    /// The pristine data file system.
    pub data: Vec<u8>,
    /// Files that are copied unchanged into a Pi's slot.
    pub firmware: Files,
}

/// Why a kit cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// The file cannot be opened.
    #[error("cannot open the kit {}", kit.display())]
    Open {
        /// The kit's path.
        kit: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not a tar archive in zstd, or is truncated.
    #[error("the kit {} cannot be unpacked", kit.display())]
    Unpack {
        /// The kit's path.
        kit: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is missing.
    #[error("the kit {} has no {file}", kit.display())]
    Missing {
        /// The kit's path.
        kit: PathBuf,
        /// The file that is missing.
        file: String,
    },
    /// A file is invalid.
    #[error("the kit {}: {file}: {what}", kit.display())]
    Bad {
        /// The kit's path.
        kit: PathBuf,
        /// The file in the kit.
        file: String,
        /// What is wrong with it.
        what: String,
    },
}

impl Kit {
    /// Opens and reads a kit's file.
    pub fn open(path: &Path) -> Result<Kit, KitError> {
        let file = File::open(path).map_err(|source| KitError::Open {
            kit: path.to_owned(),
            source,
        })?;
        Kit::read(path, file)
    }

    /// Reads a kit. `kit` is its name in error messages.
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

/// Unpacks a kit without checking that it is complete, which is what [`Kit::read`] does.
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

/// Packs a kit, with a zstd level. The same tree always gives the same bytes.
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
