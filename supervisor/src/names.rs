//! Names that workers ask for. A cell has no way to a name server, so the supervisor resolves for it:
//! the hosts of the function's own resources, and nothing else, or a worker could tell the world
//! anything by asking for it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use hearth_manifest::Filled;
use hearth_protocol::control::Control;
use nix::sys::socket::{MsgFlags, send};

/// Most questions of one worker at a time.
const MOST: u32 = 8;

/// So long an answer may take. Whoever asks waits less.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a worker may ask for.
#[derive(Debug)]
pub struct Names {
    hosts: BTreeSet<String>,
    open: Rc<Cell<u32>>,
}

impl Names {
    /// The hosts of these resources.
    pub fn of(filled: &Filled) -> Names {
        let hosts = filled.endpoints().into_iter();
        Names {
            hosts: hosts.map(|endpoint| endpoint.host).collect(),
            open: Rc::default(),
        }
    }

    /// Sends the answer over `socket`, once there is one.
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
                    // In the order that the resolver thinks best.
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

/// A worker that has gone, or passed something that is no socket, gets nothing.
fn reply(socket: &OwnedFd, found: bool, text: &str) {
    let mut bytes = Vec::new();
    Control::Resolved { found, text }.encode(&mut bytes);
    // A fresh socket takes it at once; one that does not is not waited for.
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let _ = send(socket.as_raw_fd(), &bytes, flags);
}
