//! Resolves host names for workers. A sandbox cannot reach a name server, so the supervisor resolves for it, but only
//! the hosts of the function's own resources: otherwise a worker could send out data in the names that it queries.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use hearth_manifest::Filled;
use hearth_protocol::control::Control;
use nix::sys::socket::{MsgFlags, send};

/// Maximum number of open queries of one worker.
const MOST: u32 = 8;

/// How long a query may take; the worker waits for less.
const PATIENCE: Duration = Duration::from_secs(10);

/// The names that a worker may query.
#[derive(Debug)]
pub struct Names {
    hosts: BTreeSet<String>,
    open: Rc<Cell<u32>>,
}

impl Names {
    /// Allows the hosts of these resources.
    pub fn of(filled: &Filled) -> Names {
        let hosts = filled.endpoints().into_iter();
        Names {
            hosts: hosts.map(|endpoint| endpoint.host).collect(),
            open: Rc::default(),
        }
    }

    /// Sends the answer to a query over `socket`, when there is one.
    pub fn answer(&self, host: &str, socket: OwnedFd) {
        let host = host.to_ascii_lowercase();
        if !self.hosts.contains(&host) {
            return refuse(&socket, "no resource of the function names this host");
        }
        if self.open.get() >= MOST {
            return refuse(&socket, "too many questions at once");
        }
        self.open.set(self.open.get() + 1);
        let open = Rc::clone(&self.open);
        tokio::task::spawn_local(async move {
            let looked = tokio::net::lookup_host((host.as_str(), 0));
            match tokio::time::timeout(PATIENCE, looked).await {
                Ok(Ok(found)) => {
                    // The resolver puts the best address first.
                    let lines: Vec<String> = found.map(|one| one.ip().to_string()).collect();
                    reply(&socket, true, &lines.join("\n"));
                }
                Ok(Err(error)) => refuse(&socket, &error.to_string()),
                Err(_) => refuse(&socket, "the name server does not answer"),
            }
            open.set(open.get() - 1);
        });
    }
}

fn refuse(socket: &OwnedFd, why: &str) {
    reply(socket, false, why);
}

/// Sends an answer. It is lost if the worker has ended, or has passed a descriptor that is not a socket.
fn reply(socket: &OwnedFd, found: bool, text: &str) {
    let mut bytes = Vec::new();
    Control::Resolved { found, text }.encode(&mut bytes);
    // A new socket has room for the answer. If this one has none, the supervisor does not wait.
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let _ = send(socket.as_raw_fd(), &bytes, flags);
}
