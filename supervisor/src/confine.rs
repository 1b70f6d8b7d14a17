//! A sandbox as the supervisor sees it: what it reports before it executes its program, and which system calls were
//! refused since.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;

use hearth_sys::passing;
use hearth_sys::seccomp::{Notice, receive, refuse};
use nix::libc;
use syscalls::Sysno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::cell::{Mechanism, Word};
use crate::journal::Journal;
use crate::process::Who;

/// Maximum length in bytes of a message from a sandbox.
const LONGEST: usize = 64 * 1024;

/// After this many refused calls the supervisor closes the listener, and the kernel alone fails further calls. A
/// worker must not be able to keep the supervisor busy.
const MOST_REFUSED: u64 = 100;

/// The state of a sandbox. Cheap to clone; for one thread only.
#[derive(Clone, Debug)]
pub struct Confinement(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: UnixStream,
    who: Who,
    journal: Journal,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    heard: Vec<u8>,
    stands: Vec<Mechanism>,
    failed: Option<String>,
    refused: BTreeMap<String, u64>,
}

impl Confinement {
    /// Starts to receive the messages of the sandbox at the other end of the socket.
    pub fn listen(socket: StdUnixStream, who: Who, journal: Journal) -> io::Result<Confinement> {
        socket.set_nonblocking(true)?;
        let cell = Confinement(Rc::new(Inner {
            socket: UnixStream::from_std(socket)?,
            who,
            journal,
            state: RefCell::default(),
        }));
        let listening = cell.clone();
        tokio::task::spawn_local(async move {
            while listening.0.socket.readable().await.is_ok() && listening.hear() {}
        });
        Ok(cell)
    }

    /// Which mechanisms are enforced, and why others are not.
    pub fn stands(&self) -> Vec<Mechanism> {
        self.0.state.borrow().stands.clone()
    }

    /// How often each system call was refused.
    pub fn refused(&self) -> BTreeMap<String, u64> {
        self.0.state.borrow().refused.clone()
    }

    /// Why the sandbox did not execute its program, if it did not. To be called after its process has ended: all its
    /// messages have arrived then.
    pub fn failed(&self) -> Option<String> {
        self.hear();
        self.0.state.borrow().failed.clone()
    }

    /// Reads the messages that have arrived. Returns `false` if no more can arrive.
    fn hear(&self) -> bool {
        loop {
            let mut room = [0; 4096];
            let mut descriptors = Vec::new();
            let received = self.0.socket.try_io(Interest::READABLE, || {
                passing::receive(self.0.socket.as_fd(), &mut room, &mut descriptors)
            });
            if let Some(listener) = descriptors.pop() {
                let cell = self.clone();
                tokio::task::spawn_local(async move { cell.answer(listener).await });
            }
            let mut state = self.0.state.borrow_mut();
            match received {
                Ok(count) if count > 0 && state.heard.len() + count <= LONGEST => {
                    state.heard.extend_from_slice(&room[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Ok(_) | Err(_) => return false,
            }
            while let Some(end) = state.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = state.heard.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(Word::Stands(list)) => state.stands = list,
                    Ok(Word::Failed(why)) => state.failed = Some(why),
                    Err(error) => state.failed = Some(format!("said what is no word: {error}")),
                }
            }
            if state.heard.is_empty() {
                state.heard = Vec::new();
            }
        }
    }

    /// Refuses the calls that the sandbox does not allow, and logs them.
    async fn answer(&self, listener: OwnedFd) {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; what it demands, an owned descriptor promises"
        )]
        let Ok(listener) = AsyncFd::with_interest(listener, Interest::READABLE) else {
            return;
        };
        let mut count = 0;
        while let Ok(mut ready) = listener.readable().await {
            // All processes that could make such a call have ended.
            if ready.ready().is_read_closed() {
                return;
            }
            let notice = receive(listener.get_ref().as_fd());
            ready.clear_ready();
            let Ok(notice) = notice else {
                return;
            };
            let Some(notice) = notice else {
                continue;
            };
            let _ = refuse(listener.get_ref().as_fd(), &notice, libc::EPERM);
            count += 1;
            self.refused_call(&notice, count);
            if count >= MOST_REFUSED {
                return;
            }
        }
    }

    fn refused_call(&self, notice: &Notice, count: u64) {
        let call = notice.call;
        let sysno = usize::try_from(call).ok().and_then(Sysno::new);
        let name = sysno.map_or_else(|| format!("call {call}"), |known| known.name().to_owned());
        // C libraries try to reach a cache of user names this way, and work without it. That is not worth a warning.
        let unix = notice.args[0] == u64::from(libc::AF_UNIX.unsigned_abs());
        let level = match sysno {
            Some(Sysno::socket) if unix => "info",
            _ => "warn",
        };
        let seen = {
            let mut state = self.0.state.borrow_mut();
            let seen = state.refused.entry(name.clone()).or_default();
            *seen += 1;
            *seen
        };
        // The first call of each kind is logged, the others are only counted.
        if seen == 1 {
            let text = format!("the system call `{name}` was refused (sandbox: seccomp)");
            self.0.journal.add(&self.0.who.record(level, text));
        }
        if count == MOST_REFUSED {
            let text = format!("{count} system calls were refused; no more are counted");
            self.0.journal.add(&self.0.who.record("warn", text));
        }
    }
}
