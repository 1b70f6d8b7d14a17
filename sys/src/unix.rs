//! Unix sockets in directories whose path is longer than a socket address can hold (108 bytes,
//! unix(7)): the address goes through `/proc/self/fd`, which is always short.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{Shutdown, shutdown};

/// Listens at `path`, which must not exist.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let (_open, short) = shorten(path)?;
    UnixListener::bind(short)
}

/// Connects to the socket at `path`.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_open, short) = shorten(path)?;
    UnixStream::connect(short)
}

/// Closes the writing direction of a connected socket: the peer reads the end once it has read what was
/// written before (shutdown(2)).
pub fn end_writing(socket: &impl AsRawFd) -> io::Result<()> {
    shutdown(socket.as_raw_fd(), Shutdown::Write).map_err(io::Error::from)
}

/// The directory, held open while its short path is used, and that path.
fn shorten(path: &Path) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "socket path has no file name")
    })?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = File::open(parent)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    Ok((directory, short))
}
