//! Resolves the host names of servers through the supervisor, because a worker in its sandbox cannot resolve names
//! itself.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::OnceLock;

use hearth_protocol::control::Control;
use hearth_protocol::{CONTROL_ROOM, FrameBuffer, MAX_CONTROL_LEN};
use tokio::net::UnixStream;

use crate::handshake;

/// Resolves a name in the tests of a function.
type Resolver = fn(&str) -> io::Result<Vec<IpAddr>>;

/// Set only in tests, so that workers do not link the C library's resolver.
pub(crate) static IN_TESTS: OnceLock<Resolver> = OnceLock::new();

/// The addresses of a host.
///
/// # Errors
/// The host does not exist, or no resource of the function names it.
pub(super) async fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let addresses = match IN_TESTS.get() {
        Some(resolver) => resolver(host)?,
        None => ask(host).await?,
    };
    match addresses.is_empty() {
        false => Ok(addresses),
        true => Err(io::ErrorKind::NotFound.into()),
    }
}

async fn ask(host: &str) -> io::Result<Vec<IpAddr>> {
    let (ours, theirs) = StdUnixStream::pair()?;
    handshake::tell_with(Control::Resolve { host }, Some(theirs.as_fd()))?;
    // Now the supervisor has the only other end, so a read returns 0 if the supervisor closes it.
    drop(theirs);
    ours.set_nonblocking(true)?;
    let socket = UnixStream::from_std(ours)?;
    let mut buffer = FrameBuffer::new(MAX_CONTROL_LEN, CONTROL_ROOM);
    loop {
        if let Some(frame) = buffer.next_frame().map_err(io::Error::other)? {
            return match Control::parse(&frame).map_err(io::Error::other)? {
                Control::Resolved { found: true, text } => {
                    let lines = text.lines().map(str::parse);
                    lines.collect::<Result<_, _>>().map_err(io::Error::other)
                }
                Control::Resolved { found: false, text } => {
                    Err(io::Error::other(format!("cannot resolve {host}: {text}")))
                }
                _ => Err(io::ErrorKind::InvalidData.into()),
            };
        }
        socket.readable().await?;
        match socket.try_read(buffer.room()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer.filled(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
