//! Descriptors that a process finds open when it starts.
//!
//! Each can be taken once: the numbers taken are remembered for the life of the process, so that no
//! two owners of one descriptor can come to be through this module.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};

/// The first descriptor after stdin, stdout and stderr, where both `LISTEN_FDS` and a worker's
/// control socket begin.
pub const FIRST: RawFd = 3;

/// One bit for each descriptor that has been taken; higher numbers are never inherited here.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Takes descriptor `fd`, which this process was started with, and marks it close-on-exec.
///
/// Only numbers from 3 to 63 can be taken, each once, and only before this process opens
/// descriptors of its own at that number: call it first thing.
///
/// # Errors
/// `NotFound` if nothing is open there, `AlreadyExists` if it was taken before.
pub fn take(fd: RawFd) -> io::Result<OwnedFd> {
    if !(FIRST..64).contains(&fd) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not an inherited descriptor",
        ));
    }
    let bit = 1u64 << fd;
    if TAKEN.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "descriptor was taken before",
        ));
    }
    // SAFETY: borrowed for this one call, which only asks for flags and answers EBADF if nothing is
    // open at this number.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    if fcntl(borrowed, FcntlArg::F_GETFD).is_err() {
        TAKEN.fetch_and(!bit, Ordering::SeqCst);
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("descriptor {fd} is not open"),
        ));
    }
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open (checked above), it came from the parent, so nothing in this process owns
    // it yet, and TAKEN makes this the only owner that will come to be here.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes descriptor `fd` as a Unix stream socket.
///
/// # Errors
/// As [`take`]; `InvalidInput` if it is something else.
pub fn take_unix_stream(fd: RawFd) -> io::Result<UnixStream> {
    let owned = take(fd)?;
    let stream = matches!(getsockopt(&owned, sockopt::SockType), Ok(SockType::Stream));
    let unix = nix::sys::socket::getsockname::<nix::sys::socket::UnixAddr>(
        std::os::fd::AsRawFd::as_raw_fd(&owned.as_fd()),
    );
    if !stream || unix.is_err() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a Unix stream socket",
        ));
    }
    Ok(UnixStream::from(owned))
}
