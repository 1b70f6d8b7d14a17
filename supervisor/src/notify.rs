//! Notifies the service manager that started the platform: systemd, or the appliance's init. The protocol is that of
//! sd_notify(3): `READY=1`, `STATUS=`, `WATCHDOG=1` and `STOPPING=1`, each a datagram to `$NOTIFY_SOCKET`.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager.
#[derive(Debug)]
pub(crate) struct Notify {
    socket: UnixDatagram,
    to: SocketAddr,
    /// The interval in which the service manager expects `WATCHDOG=1`, if it expects it at all.
    pub(crate) watchdog: Option<Duration>,
}

impl Notify {
    /// The service manager that the environment names.
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

    /// Sends a notification. If the service manager does not receive it, the notification is lost.
    pub(crate) fn say(&self, text: &str) {
        let _ = self.socket.send_to_addr(text.as_bytes(), &self.to);
    }
}

/// The address of a socket: a path, or after a leading `@` the name of an abstract socket.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}
