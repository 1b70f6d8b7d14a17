//! A socket that carries frames, and descriptors with them: one task reads, hands on and writes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use hearth_protocol::frame::{Frame, FrameError};
use hearth_protocol::{CONTROL_ROOM, FrameBuffer, MAX_CONTROL_LEN};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Most descriptors that may wait for their frame: as many as one message brings.
const MOST_WAITING: usize = hearth_sys::passing::MAX_FDS;

/// The writing end. Dropping it leaves the reader running until the peer closes.
#[derive(Clone, Debug)]
pub struct Wire(mpsc::UnboundedSender<Outgoing>);

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// Why a wire ended.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The peer sent what is no frame, or one that has no place here.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The peer sent something that is out of turn.
    #[error("{0}")]
    OutOfTurn(String),
}

impl Wire {
    /// Starts to carry. `on_frame` gets each frame, and the descriptors that have come, of which it
    /// takes the frame's own; `on_end` is called once, with the reason if it was not simply closed.
    pub fn start(
        socket: StdUnixStream,
        mut on_frame: impl FnMut(&Frame<'_>, &mut VecDeque<OwnedFd>) -> Result<(), WireError> + 'static,
        on_end: impl FnOnce(Option<WireError>) + 'static,
    ) -> io::Result<Wire> {
        socket.set_nonblocking(true)?;
        let socket = UnixStream::from_std(socket)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::task::spawn_local(async move {
            on_end(carry(&socket, receiver, &mut on_frame).await.err());
        });
        Ok(Wire(sender))
    }

    /// Sends bytes and the descriptors that belong to their first frame. Sent to one that has closed,
    /// they are lost, which its end will tell.
    pub fn send(&self, bytes: Vec<u8>, descriptors: Vec<OwnedFd>) {
        let _ = self.0.send(Outgoing { bytes, descriptors });
    }
}

async fn carry(
    socket: &UnixStream,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    on_frame: &mut impl FnMut(&Frame<'_>, &mut VecDeque<OwnedFd>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut descriptors = VecDeque::new();
    let fresh = || FrameBuffer::new(MAX_CONTROL_LEN, CONTROL_ROOM);
    let mut buffer = fresh();
    let mut queue: VecDeque<Outgoing> = VecDeque::new();
    let mut open = true;
    loop {
        let interest = match queue.is_empty() {
            true => Interest::READABLE,
            false => Interest::READABLE | Interest::WRITABLE,
        };
        tokio::select! {
            next = outgoing.recv(), if open => match next {
                Some(next) => queue.push_back(next),
                None => open = false,
            },
            ready = socket.ready(interest) => {
                let ready = ready?;
                if ready.is_writable() {
                    write_some(socket, &mut queue)?;
                }
                if ready.is_readable() {
                    let mut came = Vec::new();
                    let received = socket.try_io(Interest::READABLE, || {
                        hearth_sys::passing::receive(socket.as_fd(), buffer.room(), &mut came)
                    });
                    descriptors.extend(came);
                    match received {
                        Ok(0) => return Ok(()),
                        Ok(count) => buffer.filled(count),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error.into()),
                    }
                    while let Some(frame) = buffer.next_frame()? {
                        on_frame(&frame, &mut descriptors)?;
                    }
                    if buffer.is_empty() {
                        // Of a thousand peers hardly one speaks: their buffers would be most of what is kept.
                        buffer = fresh();
                    }
                    if descriptors.len() > MOST_WAITING {
                        return Err(WireError::OutOfTurn("descriptors without frames".to_owned()));
                    }
                    // A peer that never stops is not the only one.
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

fn write_some(socket: &UnixStream, queue: &mut VecDeque<Outgoing>) -> io::Result<()> {
    while let Some(first) = queue.front_mut() {
        let sent = socket.try_io(Interest::WRITABLE, || {
            let borrowed: Vec<BorrowedFd<'_>> = first.descriptors.iter().map(AsFd::as_fd).collect();
            hearth_sys::passing::send(socket.as_fd(), &first.bytes, &borrowed)
        });
        match sent {
            Ok(count) => {
                first.descriptors.clear();
                first.bytes.drain(..count);
                if first.bytes.is_empty() {
                    queue.pop_front();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
