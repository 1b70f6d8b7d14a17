//! What both UEFI programs ask of the firmware: about the image that runs, its partition and that one's
//! neighbours, and files there. Nothing here writes to a disk.

extern crate alloc;

use alloc::vec::Vec;
use core::ptr;
use core::time::Duration;

use crate::memory::Buffer;
use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol};
use uefi::proto::ProtocolPointer;
use uefi::proto::device_path::media::{HardDrive, PartitionFormat};
use uefi::proto::device_path::{DevicePath, DevicePathNodeEnum};
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::media::block::BlockIO;
use uefi::proto::media::file::{File, FileAttribute, FileMode, RegularFile};
use uefi::proto::media::fs::SimpleFileSystem;
use uefi::{CStr16, Handle, Result, Status};

/// How long a message that nobody expects stays on the screen.
pub const TO_READ: Duration = Duration::from_secs(10);

/// A protocol of a handle, while nothing else on the machine runs.
///
/// Exclusive access would have the firmware's own drivers let go of it, which for a device path or a file
/// system ends what works on top.
pub fn open<P: ProtocolPointer + ?Sized>(handle: Handle) -> Result<ScopedProtocol<P>> {
    let params = OpenProtocolParams {
        handle,
        agent: boot::image_handle(),
        controller: None,
    };
    // SAFETY: only what this program does could remove the protocol or its handle while the returned value
    // lives: the firmware runs one program at a time, and ours disconnects no driver and removes no handle
    // but that of an image whose protocols it has let go of.
    unsafe { boot::open_protocol(params, OpenProtocolAttributes::GetProtocol) }
}

/// The options that this program was started with.
pub fn options() -> Result<Vec<u8>> {
    let image = open::<LoadedImage>(boot::image_handle())?;
    Ok(image
        .load_options_as_bytes()
        .map(<[u8]>::to_vec)
        .unwrap_or_default())
}

/// The partition that this program was loaded from.
pub fn own_partition() -> Result<Handle> {
    let image = open::<LoadedImage>(boot::image_handle())?;
    image.device().ok_or_else(|| Status::NOT_FOUND.into())
}

/// A partition, by its device path: the disk's, and one last node.
struct Partition<'a> {
    /// The bytes of the nodes before the last.
    disk: &'a [u8],
    node: &'a HardDrive,
}

impl<'a> Partition<'a> {
    fn of(path: &'a DevicePath) -> Option<Partition<'a>> {
        let mut before = 0;
        let mut nodes = path.node_iter().peekable();
        while let Some(node) = nodes.next() {
            if nodes.peek().is_none() {
                let DevicePathNodeEnum::MediaHardDrive(node) = node.as_enum().ok()? else {
                    return None;
                };
                let disk = path.as_bytes().get(..before)?;
                return Some(Partition { disk, node });
            }
            before += usize::from(node.length());
        }
        None
    }
}

/// The GUID of a partition of a GPT.
pub fn guid_of(partition: Handle) -> Result<Option<uefi::Guid>> {
    use uefi::proto::device_path::media::PartitionSignature;
    let path = open::<DevicePath>(partition)?;
    let signature = Partition::of(&path).map(|found| found.node.partition_signature());
    Ok(match signature {
        Some(PartitionSignature::Guid(guid)) => Some(guid),
        _ => None,
    })
}

/// The partition with this number on the disk that `sibling` is on. By the disk's device path and the number
/// in the GPT: another disk may have the same image, and handles have no order.
pub fn partition(sibling: Handle, number: u32) -> Result<Handle> {
    if let Some(found) = find(sibling, number)? {
        return Ok(found);
    }
    // Firmware that starts quickly may have connected only what it had to.
    let path = open::<DevicePath>(sibling)?;
    let mut rest = &*path;
    if let Ok(disk) = disk_of(&mut rest) {
        let _ = boot::connect_controller(disk, &[], None, true);
    }
    find(sibling, number)?.ok_or_else(|| Status::NOT_FOUND.into())
}

/// The handle of the disk: the nearest one above a partition that has blocks.
fn disk_of(rest: &mut &DevicePath) -> Result<Handle> {
    let own = boot::locate_device_path::<BlockIO>(rest)?;
    let own_path = open::<DevicePath>(own)?;
    let disk = Partition::of(&own_path).map(|partition| partition.disk);
    let disk = disk.ok_or(Status::NOT_FOUND)?;
    let mut all = boot::find_handles::<BlockIO>()?.into_iter();
    let is_disk = |handle: &Handle| {
        open::<DevicePath>(*handle).is_ok_and(|path| {
            path.as_bytes().get(..disk.len()) == Some(disk)
                && path
                    .node_iter()
                    .map(|node| usize::from(node.length()))
                    .sum::<usize>()
                    == disk.len()
        })
    };
    all.find(is_disk).ok_or_else(|| Status::NOT_FOUND.into())
}

fn find(sibling: Handle, number: u32) -> Result<Option<Handle>> {
    let own = open::<DevicePath>(sibling)?;
    let own = Partition::of(&own).ok_or(Status::UNSUPPORTED)?;
    let is_it = |handle: &Handle| {
        let Ok(path) = open::<DevicePath>(*handle) else {
            return false;
        };
        Partition::of(&path).is_some_and(|partition| {
            partition.disk == own.disk
                && partition.node.partition_number() == number
                && partition.node.partition_format() == PartitionFormat::GPT
        })
    };
    let mut all = boot::find_handles::<BlockIO>()?.into_iter();
    Ok(all.find(is_it))
}

/// Sees that the partition's file system is read, where the firmware has not done so yet.
pub fn connect(partition: Handle) {
    // It says NOT_FOUND also where there is nothing left to connect; whether there is a file system shows
    // when it is used.
    let _ = boot::connect_controller(partition, &[], None, true);
}

/// A file's bytes, at most `limit` of them.
pub fn read(partition: Handle, path: &CStr16, limit: usize) -> Result<Vec<u8>> {
    let mut file = open_file(partition, path)?;
    let mut buffer = Buffer::new(limit)?;
    let filled = fill(&mut file, buffer.bytes())?;
    Ok(buffer.bytes()[..filled].to_vec())
}

/// The whole of a large file.
pub fn read_large(partition: Handle, path: &CStr16) -> Result<Buffer> {
    let mut file = open_file(partition, path)?;
    file.set_position(RegularFile::END_OF_FILE)?;
    let len = usize::try_from(file.get_position()?).map_err(|_| Status::BAD_BUFFER_SIZE)?;
    file.set_position(0)?;
    let mut buffer = Buffer::new(len)?;
    match fill(&mut file, buffer.bytes())? == len {
        true => Ok(buffer),
        false => Err(Status::VOLUME_CORRUPTED.into()),
    }
}

fn open_file(partition: Handle, path: &CStr16) -> Result<RegularFile> {
    // Of a partition without a file system the firmware says that it does not support it, as it does of much else.
    let volume = open::<SimpleFileSystem>(partition);
    let mut volume = volume.map_err(|_| uefi::Error::from(Status::NOT_FOUND))?;
    let mut root = volume.open_volume()?;
    let file = root.open(path, FileMode::Read, FileAttribute::empty())?;
    Ok(file.into_regular_file().ok_or(Status::UNSUPPORTED)?)
}

/// Reads until there is no more, of the file or of the room; how much it was.
fn fill(file: &mut RegularFile, bytes: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        let read = file.read(&mut bytes[filled..]);
        match read.map_err(|error| uefi::Error::from(error.status()))? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Starts a program that was loaded, with these options (UTF-16 and a zero at its end); returns only if it
/// does.
pub fn start(image: Handle, options: &[u16]) -> Result {
    let size = u32::try_from(size_of_val(options)).map_err(|_| Status::BAD_BUFFER_SIZE)?;
    {
        let mut loaded = open::<LoadedImage>(image)?;
        let pointer = match options {
            [] => ptr::null(),
            options => options.as_ptr().cast(),
        };
        // SAFETY: `options` is borrowed until the end of this function, and the image is gone from the
        // firmware before: it has returned, and is unloaded below.
        unsafe { loaded.set_load_options(pointer, size) };
    }
    let result = boot::start_image(image);
    // A program that returned is unloaded by the firmware; one that could not be started is not.
    let _ = boot::unload_image(image);
    result
}
