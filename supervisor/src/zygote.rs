//! The supervisor's side of the zygote (`cell/zygote.rs`). It is started once, gets an order for each sandbox, and is
//! replaced when it fails.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hearth_sys::inherit::FIRST;
use hearth_sys::passing;
use hearth_sys::spawn::{Child, Spawn, spawn};
use nix::unistd::Pid;

use crate::cell::{Born, LONGEST, Order};
use crate::gateway::Program;

/// How long the supervisor waits for the zygote. It does nothing else meanwhile; making a copy takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running zygote. Dropping this kills it.
#[derive(Debug)]
pub struct Zygote {
    child: Child,
    socket: UnixStream,
}

impl Zygote {
    /// Starts `program` as a zygote.
    pub fn start(program: &Program) -> io::Result<Zygote> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let args = program.args.iter().map(Into::into);
        let mut child = spawn(Spawn {
            args: args.chain([FIRST.to_string().into()]).collect(),
            descriptors: vec![theirs.into()],
            ..Spawn::new(program.path.clone())
        })?;
        // The zygote sends only replies, over the socket.
        drop((child.stdout.take(), child.stderr.take()));
        Ok(Zygote { child, socket })
    }

    /// Sends an order for a sandbox. `descriptors` are those that belong to the order.
    ///
    /// # Errors
    /// The order is too large, or the zygote accepts no orders any more. The order has not been carried out.
    pub fn tell(&self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let order = serde_json::to_vec(order)?;
        if order.len() > LONGEST || descriptors.len() > passing::MAX_FDS {
            let why = format!(
                "a cell of {} bytes and {} descriptors: {LONGEST} and {} are the most",
                order.len(),
                descriptors.len(),
                passing::MAX_FDS
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let length = u32::try_from(order.len()).map_err(io::Error::other)?;
        let bytes = [&length.to_le_bytes(), order.as_slice()].concat();
        let sent = passing::send(self.socket.as_fd(), &bytes, descriptors)?;
        (&self.socket).write_all(&bytes[sent..])
    }

    /// Receives the process id of the sandbox.
    ///
    /// # Errors
    /// The sandbox could not be made, or the zygote has ended before it replied, so that the result is unknown.
    pub fn hear(&self) -> io::Result<Pid> {
        let mut line = String::new();
        BufReader::new(&self.socket).read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match serde_json::from_str(&line)? {
            Born::As(pid) => Ok(Pid::from_raw(pid)),
            Born::Not(why) => Err(io::Error::other(why)),
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
