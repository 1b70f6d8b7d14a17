//! Descriptors sent over a Unix socket (SCM_RIGHTS, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// Most descriptors that one message of ours carries; the kernel's own limit is 253.
pub const MAX_FDS: usize = 64;

/// Sends `bytes`, with `fds` attached to their first byte; returns how many bytes went.
///
/// # Errors
/// `WouldBlock` on a full non-blocking socket, and what sendmsg(2) says. The descriptors went if
/// any byte did.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let sent = sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(sent)
}

/// Receives bytes into `room` and any descriptors that came with them into `fds`; returns how many
/// bytes came, 0 at the end of the stream.
///
/// # Errors
/// `WouldBlock` on an empty non-blocking socket, `InvalidData` if more descriptors came than
/// [`MAX_FDS`] (they are closed), and what recvmsg(2) says.
pub fn receive(
    socket: BorrowedFd<'_>,
    room: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut iov = [IoSliceMut::new(room)];
    let message = recvmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &mut iov,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let cut = message.flags.contains(MsgFlags::MSG_CTRUNC);
    if let Ok(messages) = message.cmsgs() {
        for control in messages {
            if let ControlMessageOwned::ScmRights(raw) = control {
                // SAFETY: the kernel has just made these descriptors for this process, and nothing
                // else knows their numbers yet.
                fds.extend(
                    raw.into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
    }
    if cut {
        fds.clear();
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "too many descriptors in a message",
        ));
    }
    Ok(message.bytes)
}
