//! Tells whoever started the platform how it is: systemd, or the appliance's init. By the protocol of
//! sd_notify(3): `READY=1`, `STATUS=`, `WATCHDOG=1` and `STOPPING=1`, each a datagram to `$NOTIFY_SOCKET`.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Who wants to be told.
#[derive(Debug)]
pub(crate) struct Notify {
    socket: UnixDatagram,
    to: SocketAddr,
    /// So often it wants to hear that all is well, if at all.
    pub(crate) watchdog: Option<Duration>,
}

impl Notify {
    /// Whom the environment names.
    pub(crate) fn of_environment() -> io::Result<Option<Notify>> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let own = |pid: String| pid.parse() == Ok(std::process::id());
        let ours = std::env::var("WATCHDOG_PID").map_or(true, own);
        let watchdog = std::env::var("WATCHDOG_USEC").ok().filter(|_| ours);
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Some(Notify {
            socket,
            to: address(&name)?,
            watchdog: watchdog
                .and_then(|text| text.parse().ok())
                .filter(|micros| *micros > 0)
                .map(Duration::from_micros),
        }))
    }

    /// Tells it. Where nobody listens, nobody is told.
    pub(crate) fn say(&self, text: &str) {
        let _ = self.socket.send_to_addr(text.as_bytes(), &self.to);
    }
}

/// A path, or with `@` in front a name without one.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}
