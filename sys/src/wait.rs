//! Waiting for descriptors without a runtime (poll(2)).

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};

/// One descriptor to wait for, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    /// The descriptor.
    pub fd: BorrowedFd<'a>,
    /// Wait until it can be read.
    pub read: bool,
    /// Wait until it can be written.
    pub write: bool,
    /// Reading will not block: bytes, the end, or an error.
    pub readable: bool,
    /// Writing will not block, or fails at once.
    pub writable: bool,
}

impl<'a> Waiting<'a> {
    /// Waits for reading.
    pub fn read(fd: BorrowedFd<'a>) -> Self {
        Waiting {
            fd,
            read: true,
            write: false,
            readable: false,
            writable: false,
        }
    }

    /// Waits for writing.
    pub fn write(fd: BorrowedFd<'a>) -> Self {
        Waiting {
            read: false,
            write: true,
            ..Waiting::read(fd)
        }
    }
}

/// Waits until one of `set` is ready or `timeout` has passed (`None`: for ever). A signal only
/// makes it wait again. Returns whether any is ready.
pub fn wait(set: &mut [Waiting<'_>], timeout: Option<Duration>) -> io::Result<bool> {
    let mut polled: Vec<PollFd<'_>> = set
        .iter()
        .map(|one| {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, one.read);
            events.set(PollFlags::POLLOUT, one.write);
            PollFd::new(one.fd, events)
        })
        .collect();
    let timeout = match timeout {
        None => PollTimeout::NONE,
        Some(timeout) => PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX),
    };
    let ready = loop {
        match nix::poll::poll(&mut polled, timeout) {
            Ok(ready) => break ready > 0,
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let broken = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    for (one, polled) in set.iter_mut().zip(&polled) {
        let events = polled.revents().unwrap_or(broken);
        one.readable = events.intersects(PollFlags::POLLIN | broken);
        one.writable = events.intersects(PollFlags::POLLOUT | broken);
    }
    Ok(ready)
}

/// Which of these sockets the peer has closed, at least its sending side (POLLRDHUP, poll(2)). Asks
/// only, and waits for nothing.
pub fn hung_up(sockets: &[RawFd]) -> io::Result<Vec<bool>> {
    let events = libc::POLLRDHUP;
    let mut polled: Vec<libc::pollfd> = sockets
        .iter()
        .map(|fd| libc::pollfd {
            fd: *fd,
            events,
            revents: 0,
        })
        .collect();
    // SAFETY: `polled` is an array of as many initialised entries as we say, and lives through the
    // call. The numbers in it are only looked up: one that is not open is answered with POLLNVAL.
    let count = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, 0) };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    let gone = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
    Ok(polled.iter().map(|one| one.revents & gone != 0).collect())
}
