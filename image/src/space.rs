//! What takes which space of an image.

use serde::Serialize;

use crate::assemble::Contents;
use crate::layout::{self, Role};

/// Something that takes space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `kernel`, `stub`, `firmware`, or the path of a file in the root file system.
    pub name: String,
    /// Before it is compressed.
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

/// All of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Space {
    /// The board.
    pub board: String,
    /// The system's version.
    pub version: String,
    /// What a slot is made of.
    pub parts: Vec<Part>,
    /// The root file system, as it lies in the slot; 0 where it came to none.
    pub initramfs_compressed: u64,
    /// Bytes of a slot that are taken; 0 where they are too many.
    pub slot_used: u64,
    /// Bytes of a slot.
    pub slot_size: u64,
    /// Bytes of the data partition, before it grows.
    pub data: u64,
    /// Bytes of the image.
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

    /// Bytes of the files of the root file system, before they are compressed.
    pub fn initramfs(&self) -> u64 {
        let files = self.parts.iter().filter(|part| part.name.starts_with('/'));
        files.map(|part| part.bytes).sum()
    }
}
