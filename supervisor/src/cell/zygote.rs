//! The process that cells are copies of: small, of one thread, and ready, so that a start waits for no program but
//! the worker's own. It is asked with an [`Order`] by the supervisor, whose child the copy is.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process;

use hearth_sys::spawn::raise;
use hearth_sys::{fork, inherit, passing};
use nix::sched::CloneFlags;
use nix::unistd::geteuid;

use super::enter::{Handed, enter};
use super::{Born, Order, identity};

/// Longest order in bytes: many paths and ports.
pub const LONGEST: usize = 1 << 20;

/// Received descriptors lie above all numbers where a program finds its own.
const APART: RawFd = 2 * passing::MAX_FDS as RawFd;

/// Makes cells for whoever is at the other end of `descriptor`, until that hangs up.
///
/// # Errors
/// The other end breaks off within an order, or sends what is none.
pub fn zygote(descriptor: RawFd) -> io::Result<()> {
    serve(descriptor, true, enter)
}

/// The same, with copies that do as `become_program` does, and end when that returns. It is told whether capabilities
/// were given up that could be gained. Without `apart` they are in no namespace and no cgroup of their own.
///
/// # Errors
/// As [`zygote`].
pub fn serve(
    descriptor: RawFd,
    apart: bool,
    become_program: impl FnOnce(&Order, Handed, Result<(), String>),
) -> io::Result<()> {
    let mut socket = UnixStream::from(raise(inherit::take(descriptor)?, APART)?);
    // Given up once: copies have what this process has.
    let bound = match geteuid().is_root() {
        true => identity::bound().map_err(|error| format!("capabilities: {error}")),
        false => Ok(()),
    };
    while let Some((order, descriptors)) = receive(&mut socket)? {
        let reply = match Handed::of(descriptors, &order) {
            Ok(handed) => {
                let (namespaces, cgroup) = match apart {
                    true => (order.plan.namespaces(), handed.cgroup.as_ref()),
                    false => (CloneFlags::empty(), None),
                };
                match fork::sibling(namespaces, cgroup) {
                    Ok(Some(pid)) => Born::As(pid.as_raw()),
                    Ok(None) => {
                        drop(socket);
                        become_program(&order, handed, bound);
                        process::exit(1)
                    }
                    Err(error) => Born::Not(format!("clone3: {error}")),
                }
            }
            Err(why) => Born::Not(why),
        };
        let mut line = serde_json::to_vec(&reply)?;
        line.push(b'\n');
        socket.write_all(&line)?;
    }
    Ok(())
}

/// The next order and its descriptors; `None` at the end.
fn receive(socket: &mut UnixStream) -> io::Result<Option<(Order, Vec<OwnedFd>)>> {
    let mut length = [0; size_of::<u32>()];
    let mut descriptors = Vec::new();
    let begun = passing::receive(socket.as_fd(), &mut length, &mut descriptors)?;
    if begun == 0 {
        return Ok(None);
    }
    socket.read_exact(&mut length[begun..])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "too long an order",
        ));
    }
    let mut order = vec![0; length];
    socket.read_exact(&mut order)?;
    let apart = descriptors.into_iter().map(|one| raise(one, APART));
    Ok(Some((
        serde_json::from_slice(&order)?,
        apart.collect::<io::Result<_>>()?,
    )))
}
