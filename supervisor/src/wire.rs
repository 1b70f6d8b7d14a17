//! A socket that carries frames and descriptors. One task reads frames, passes them to a callback, and writes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use hearth_protocol::frame::{Frame, FrameError};
use hearth_protocol::{CONTROL_ROOM, FrameBuffer, MAX_CONTROL_LEN};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Maximum number of descriptors that wait for their frame: as many as one message carries.
const MOST_WAITING: usize = hearth_sys::passing::MAX_FDS;

/// The sending side. If it is dropped, the task keeps reading until the peer closes the socket.
#[derive(Clone, Debug)]
pub struct Wire(mpsc::UnboundedSender<Outgoing>);

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The peer sent an invalid frame, or one that is not allowed here.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The peer sent a frame that the protocol does not allow at this point.
    #[error("{0}")]
    OutOfTurn(String),
}

impl Wire {
    /// Starts the task. `on_frame` gets each frame and the received descriptors, and takes those of the frame. `on_end`
    /// is called once, with the reason unless the peer simply closed the socket.
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

    /// Sends bytes, and the descriptors that belong to their first frame. If the peer has closed the socket, they are
    /// lost, and `on_end` is called.
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
                        // Of a thousand peers hardly one is sending. If all kept a buffer, that would be most of the
                        // memory.
                        buffer = fresh();
                    }
                    if descriptors.len() > MOST_WAITING {
                        return Err(WireError::OutOfTurn("descriptors without frames".to_owned()));
                    }
                    // Other tasks run, even if this peer sends without a pause.
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
