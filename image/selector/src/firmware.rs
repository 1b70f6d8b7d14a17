//! Calls into the firmware that both UEFI programs make: about the image that runs, its partition and the others on
//! that disk, and files there. Nothing here writes to a disk.

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

/// How long an error message stays on the screen.
pub const TO_READ: Duration = Duration::from_secs(10);

/// Opens a protocol of a handle, without exclusive access.
///
/// For exclusive access, the firmware would disconnect its own drivers, and whatever uses a device path or a file
/// system through them would stop working.
pub fn open<P: ProtocolPointer + ?Sized>(handle: Handle) -> Result<ScopedProtocol<P>> {
    let params = OpenProtocolParams {
        handle,
        agent: boot::image_handle(),
        controller: None,
    };
    // SAFETY: only this program could remove the protocol or its handle while the returned value exists, because the
    // firmware runs one program at a time. This program disconnects no driver, and removes no handle except that of
    // an image whose protocols it has already closed.
    unsafe { boot::open_protocol(params, OpenProtocolAttributes::GetProtocol) }
}

/// Returns the load options of this program.
pub fn options() -> Result<Vec<u8>> {
    let image = open::<LoadedImage>(boot::image_handle())?;
    Ok(image
        .load_options_as_bytes()
        .map(<[u8]>::to_vec)
        .unwrap_or_default())
}

/// Returns the partition that this program was loaded from.
pub fn own_partition() -> Result<Handle> {
    let image = open::<LoadedImage>(boot::image_handle())?;
    image.device().ok_or_else(|| Status::NOT_FOUND.into())
}

/// A partition, from its device path: the disk's path, and one last node.
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

/// Returns the GUID of a partition, if its disk has a GPT.
pub fn guid_of(partition: Handle) -> Result<Option<uefi::Guid>> {
    use uefi::proto::device_path::media::PartitionSignature;
    let path = open::<DevicePath>(partition)?;
    let signature = Partition::of(&path).map(|found| found.node.partition_signature());
    Ok(match signature {
        Some(PartitionSignature::Guid(guid)) => Some(guid),
        _ => None,
    })
}

/// Returns the partition with this number on the disk of `sibling`. Compares the disk's device path and the partition
/// number, because another disk may hold the same image, and handles have no order.
pub fn partition(sibling: Handle, number: u32) -> Result<Handle> {
    if let Some(found) = find(sibling, number)? {
        return Ok(found);
    }
    // With fast boot, the firmware may have connected only what it needed.
    let path = open::<DevicePath>(sibling)?;
    let mut rest = &*path;
    if let Ok(disk) = disk_of(&mut rest) {
        let _ = boot::connect_controller(disk, &[], None, true);
    }
    find(sibling, number)?.ok_or_else(|| Status::NOT_FOUND.into())
}

/// Returns the disk of a partition: the nearest block device above it.
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

/// Makes the firmware connect its drivers to the partition, in case it has not done so yet.
pub fn connect(partition: Handle) {
    // The result is also NOT_FOUND if everything is already connected. Whether the partition has a file system shows
    // when it is opened.
    let _ = boot::connect_controller(partition, &[], None, true);
}

/// Reads a file, at most `limit` bytes.
pub fn read(partition: Handle, path: &CStr16, limit: usize) -> Result<Vec<u8>> {
    let mut file = open_file(partition, path)?;
    let mut buffer = Buffer::new(limit)?;
    let filled = fill(&mut file, buffer.bytes())?;
    Ok(buffer.bytes()[..filled].to_vec())
}

/// Reads a large file completely.
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
    // The firmware reports UNSUPPORTED for a partition without a file system, and for many other reasons.
    let volume = open::<SimpleFileSystem>(partition);
    let mut volume = volume.map_err(|_| uefi::Error::from(Status::NOT_FOUND))?;
    let mut root = volume.open_volume()?;
    let file = root.open(path, FileMode::Read, FileAttribute::empty())?;
    Ok(file.into_regular_file().ok_or(Status::UNSUPPORTED)?)
}

/// Reads until the file ends or the buffer is full. Returns the number of bytes.
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

/// Starts a loaded program with these options (UTF-16 with a terminating zero). Returns only if the program does.
pub fn start(image: Handle, options: &[u16]) -> Result {
    let size = u32::try_from(size_of_val(options)).map_err(|_| Status::BAD_BUFFER_SIZE)?;
    {
        let mut loaded = open::<LoadedImage>(image)?;
        let pointer = match options {
            [] => ptr::null(),
            options => options.as_ptr().cast(),
        };
        // SAFETY: `options` is borrowed until the end of this function. The firmware no longer uses the image then:
        // it has returned, and is unloaded below.
        unsafe { loaded.set_load_options(pointer, size) };
    }
    let result = boot::start_image(image);
    // The firmware unloads a program that has returned, but not one that could not be started.
    let _ = boot::unload_image(image);
    result
}
