//! How much space each part of an image takes.

use serde::Serialize;

use crate::assemble::Contents;
use crate::layout::{self, Role};

/// A part of an image, and its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `kernel`, `stub`, `firmware`, or the path of a file in the root file system.
    pub name: String,
    /// Size in bytes, uncompressed.
    pub bytes: u64,
}

impl Part {
    pub(crate) fn new(name: &str, bytes: usize) -> Part {
        Part {
            name: name.to_owned(),
            bytes: bytes as u64,
        }
    }
}

/// The space in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Space {
    /// The board's name.
    pub board: String,
    /// The system's version.
    pub version: String,
    /// The parts of a slot.
    pub parts: Vec<Part>,
    /// Compressed size of the root file system in the slot; 0 if assembling failed before that.
    pub initramfs_compressed: u64,
    /// Bytes of the slot that are used; 0 if the parts do not fit.
    pub slot_used: u64,
    /// Size of a slot in bytes.
    pub slot_size: u64,
    /// Size of the data partition in bytes, before it grows.
    pub data: u64,
    /// Size of the image in bytes.
    pub image: u64,
}

impl Space {
    pub(crate) fn new(contents: &Contents) -> Space {
        let firmware = contents.kit.board.firmware();
        Space {
            board: contents.kit.board.name().to_owned(),
            version: contents.version.clone(),
            parts: Vec::new(),
            initramfs_compressed: 0,
            slot_used: 0,
            slot_size: layout::span(Role::SlotA, firmware).len,
            data: layout::span(Role::Data, firmware).len,
            image: layout::image_len(firmware),
        }
    }

    /// Returns the uncompressed size of the root file system's files in bytes.
    pub fn initramfs(&self) -> u64 {
        let files = self.parts.iter().filter(|part| part.name.starts_with('/'));
        files.map(|part| part.bytes).sum()
    }
}
