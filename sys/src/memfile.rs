//! Sealed memory files: bytes handed to another process that neither side can change any more
//! (memfd_create(2)), and that never touch a disk.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Puts `bytes` into a new memory file and seals it.
pub fn sealed(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// Reads all of a file that came from outside, which must be a memory file that nobody can change any
/// more: to read anything else might never end, or see it change.
///
/// # Errors
/// `InvalidInput` if it is something else, `InvalidData` if it is longer than `max`.
pub fn read_sealed(fd: OwnedFd, max: u64) -> io::Result<Vec<u8>> {
    let needed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    let seals = fcntl(&fd, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_truncate);
    if !seals.is_ok_and(|seals| seals.contains(needed)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "what was passed is not a sealed memory file",
        ));
    }
    read(fd, max)
}

/// Reads all of a memory file, whatever its position, up to `max` bytes.
///
/// # Errors
/// `InvalidData` if it is longer than `max`.
pub fn read(fd: OwnedFd, max: u64) -> io::Result<Vec<u8>> {
    let file = File::from(fd);
    let len = file.metadata()?.len();
    if len > max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "memory file is too long",
        ));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
