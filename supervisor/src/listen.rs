//! The listeners. The supervisor binds them once and passes them on, so that they stay open when the gateway restarts.

use std::io;
use std::net::{SocketAddr, TcpListener};

use hearth_manifest::Listen;
use nix::sys::socket::{Backlog, listen};

/// Connections that the kernel queues until they are accepted; the standard library uses 128.
const BACKLOG: i32 = 4096;

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The actual address. If port 0 was configured, it contains the port that the kernel chose.
    pub address: SocketAddr,
    /// The configured address.
    pub asked: SocketAddr,
    /// The socket.
    pub socket: TcpListener,
}

impl Listener {
    /// Another handle on the same socket.
    pub fn try_clone(&self) -> io::Result<Listener> {
        let Listener {
            scheme,
            address,
            asked,
            ref socket,
        } = *self;
        Ok(Listener {
            scheme,
            address,
            asked,
            socket: socket.try_clone()?,
        })
    }
}

/// Why a listener cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({scheme}){hint}")]
pub struct ListenError {
    scheme: &'static str,
    address: SocketAddr,
    hint: &'static str,
    source: io::Error,
}

/// Binds the listeners of `wanted`. Those of `old` that have the same configured address are used again.
pub fn bind(wanted: &Listen, old: Vec<Listener>) -> Result<Vec<Listener>, ListenError> {
    let mut old = old;
    [("http", wanted.http), ("https", wanted.https)]
        .into_iter()
        .filter_map(|(scheme, asked)| asked.map(|asked| (scheme, asked)))
        .map(|(scheme, asked)| {
            let same = |one: &Listener| one.scheme == scheme && one.asked == asked;
            match old.iter().position(same) {
                Some(place) => Ok(old.swap_remove(place)),
                None => bind_one(scheme, asked),
            }
        })
        .collect()
}

fn bind_one(scheme: &'static str, asked: SocketAddr) -> Result<Listener, ListenError> {
    let failed = |source: io::Error| {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "; another program is there: choose another with `--listen`, or `gateway.listen`"
            }
            io::ErrorKind::PermissionDenied => "; ports below 1024 need root",
            _ => "",
        };
        ListenError {
            scheme,
            address: asked,
            hint,
            source,
        }
    };
    let socket = TcpListener::bind(asked).map_err(failed)?;
    let backlog = Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN);
    // A second listen(2) only changes the length of the queue.
    listen(&socket, backlog).map_err(|errno| failed(errno.into()))?;
    let address = socket.local_addr().map_err(failed)?;
    Ok(Listener {
        scheme,
        address,
        asked,
        socket,
    })
}
