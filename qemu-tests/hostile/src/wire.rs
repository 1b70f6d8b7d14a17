//! Attacks on the sockets between this worker and the platform.

use std::io;

use nix::libc;

use crate::{Act, Done, Order};

pub(crate) const ACTS: &[Act] = &[("garbage", garbage), ("die", |_| std::process::exit(3))];

/// Writes bytes that are not a frame to each of its sockets.
fn garbage(_: &Order) -> Done {
    let bytes = [0xffu8; 64];
    for fd in 3..64 {
        // SAFETY: only bytes of this function are read; for a number that is not a socket, the call fails.
        unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    }
    Err(io::Error::other("the platform went on"))
}
