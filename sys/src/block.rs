//! Partitions and file systems that grow while they are in use: BLKPG (`linux/blkpg.h`) and ext4's
//! own resize (`fs/ext4/ext4.h`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::libc;

/// `struct blkpg_partition`: bytes, not sectors.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: libc::c_int,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Argument {
    operation: libc::c_int,
    flags: libc::c_int,
    length: libc::c_int,
    data: *const Partition,
}

/// Tells the kernel that a partition of this disk is `length` bytes long from now on; it may be in use.
///
/// # Errors
/// `EBUSY` if it would overlap another, and what ioctl(2) says.
pub fn resize_partition(disk: &File, number: u32, start: u64, length: u64) -> io::Result<()> {
    /// `_IO(0x12, 105)`, and of what it can do, BLKPG_RESIZE_PARTITION.
    const BLKPG: u64 = 0x1269;
    const RESIZE: libc::c_int = 3;
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let partition = Partition {
        start: start.try_into().map_err(invalid)?,
        length: length.try_into().map_err(invalid)?,
        number: number.try_into().map_err(invalid)?,
        names: [0; 128],
    };
    let argument = Argument {
        operation: RESIZE,
        flags: 0,
        length: size_of::<Partition>() as libc::c_int,
        data: &raw const partition,
    };
    // SAFETY: both structures have the kernel's layout and outlive the call, which only reads them.
    match unsafe { libc::ioctl(disk.as_raw_fd(), BLKPG as _, &raw const argument) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Grows the ext4 file system in which `within` lies to this many of its blocks, while it is mounted.
///
/// # Errors
/// What ioctl(2) says: `EPERM` without CAP_SYS_RESOURCE, `ENOSPC` where the partition is smaller.
pub fn grow_ext4(within: &File, blocks: u64) -> io::Result<()> {
    /// `_IOW('f', 16, __u64)`.
    const RESIZE: u64 = 0x4008_6610;
    // SAFETY: the call reads one 64-bit number that outlives it.
    match unsafe { libc::ioctl(within.as_raw_fd(), RESIZE as _, &raw const blocks) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
