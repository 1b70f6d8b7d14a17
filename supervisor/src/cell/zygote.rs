//! The zygote: the process that sandboxes are copies of. It is small, has one thread and is already running, so that a
//! start loads only the worker's own program. The supervisor sends it an [`Order`], and is the parent of the copy.

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

/// Maximum size of an order in bytes. Many paths and ports fit.
pub const LONGEST: usize = 1 << 20;

/// Received descriptors are moved to this number or above: the program inherits descriptors at lower numbers.
const APART: RawFd = 2 * passing::MAX_FDS as RawFd;

/// Makes sandboxes for the process at the other end of the socket `descriptor`, until that end closes.
///
/// # Errors
/// The other end closes within an order, or sends an invalid one; the errors of the socket.
pub fn zygote(descriptor: RawFd) -> io::Result<()> {
    serve(descriptor, true, enter)
}

/// Like `zygote`, but each copy calls `become_program`, and exits when that returns. The result passed to it says
/// whether the capabilities that could be gained have been given up. Without `apart`, copies get no namespaces and no
/// control group of their own.
///
/// # Errors
/// As [`zygote`].
pub fn serve(
    descriptor: RawFd,
    apart: bool,
    become_program: impl FnOnce(&Order, Handed, Result<(), String>),
) -> io::Result<()> {
    let mut socket = UnixStream::from(raise(inherit::take(descriptor)?, APART)?);
    // Given up once, because copies inherit this state.
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

/// Receives the next order and its descriptors; `None` at the end.
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
