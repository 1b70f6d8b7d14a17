//! Acts upon the sockets that connect it with the platform.

use std::io;

use nix::libc;

use crate::{Act, Done, Order};

pub(crate) const ACTS: &[Act] = &[("garbage", garbage), ("die", |_| std::process::exit(3))];

/// Writes what is no frame to every socket that it has.
fn garbage(_: &Order) -> Done {
    let bytes = [0xffu8; 64];
    for fd in 3..64 {
        // SAFETY: bytes of ours are read; a number that is no socket is an error of the call.
        unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    }
    Err(io::Error::other("the platform went on"))
}
