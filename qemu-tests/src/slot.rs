//! Reads from a slot what selector and stub would read. So a device can be started without UEFI firmware in tests
//! that are not about the firmware. `cargo xtask test firmware` tests selector and stub themselves.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use hearth_image::disk::{self, Partition};
use hearth_image::fat;
use hearth_image::layout::Role;
use hearth_image::uki::{Uki, UkiError};

/// The file that contains a slot's system.
const UKI: &str = "hearth.efi";

/// What a kernel is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The initramfs, a file on this host.
    pub initramfs: PathBuf,
    /// The slot's command line, with the stub's additions.
    pub command_line: String,
}

/// Why a slot cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The disk, or a file on this host, cannot be read or written.
    #[error("cannot {attempt} {}", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The disk has no valid partition table.
    #[error("the disk has no table of partitions")]
    Table(#[from] disk::DiskError),
    /// The table has no slot a.
    #[error("the disk has no slot a")]
    Missing,
    /// The slot's file system or its file cannot be read.
    #[error("cannot read {UKI} of slot a")]
    Read(#[source] io::Error),
    /// The file is not a kernel image.
    #[error("{UKI} of slot a is not a kernel image")]
    Uki(#[from] UkiError),
    /// The file lacks a section.
    #[error("{UKI} of slot a has no section {0}")]
    Section(&'static str),
}

/// Reads slot a of a disk, and writes its initramfs to `initramfs`.
///
/// # Errors
/// If the slot could not be started.
pub fn take(disk: &Path, initramfs: &Path) -> Result<Taken, SlotError> {
    let mut opened = File::open(disk).map_err(file("open", disk))?;
    let table = disk::read(&mut opened)?;
    let slot = table.find(Role::SlotA).ok_or(SlotError::Missing)?;
    let bytes = read(&mut opened, slot, UKI).map_err(SlotError::Read)?;
    let uki = Uki::parse(&bytes)?;
    let section = |name: &'static str| uki.section(name)?.ok_or(SlotError::Section(name));
    fs::write(initramfs, section(".initrd")?).map_err(file("write", initramfs))?;
    let words = String::from_utf8_lossy(section(".cmdline")?).into_owned();
    let words = words.trim_matches(['\0', '\n', ' ']);
    Ok(Taken {
        initramfs: initramfs.to_owned(),
        command_line: format!("{words} hearth.trial=0 hearth.origin={}", slot.uuid),
    })
}

/// Reads a file of a partition with a FAT file system.
pub(crate) fn read(disk: &mut File, partition: &Partition, path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    disk.seek(SeekFrom::Start(partition.span.start))?;
    disk.take(partition.span.len).read_to_end(&mut bytes)?;
    fat::read(&bytes, path)
}

fn file(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SlotError + use<> {
    let path = path.to_owned();
    move |source| SlotError::File {
        attempt,
        path,
        source,
    }
}
