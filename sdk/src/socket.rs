//! One data socket: what was read, its streams, and what waits to be written.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearth_protocol::data::Data;
use hearth_protocol::head::Limits;
use hearth_protocol::{FrameBuffer, MAX_DATA_LEN};
use hearth_sys::wait::{Waiting, wait};

use crate::slots::{Broken, Incoming, Slots};

/// Room for one read: a full row of small requests. A worker's memory is counted in pages.
const ROOM: usize = 16 * 1024;

/// A data socket to one thread of the gateway.
#[derive(Debug)]
pub(crate) struct DataSocket {
    pub(crate) slots: Slots,
    buffer: FrameBuffer,
    pub(crate) outbox: Arc<Outbox>,
}

/// Frames that wait to be written, shared with the [`crate::flusher`].
#[derive(Debug)]
pub(crate) struct Outbox {
    stream: UnixStream,
    pending: Mutex<Vec<u8>>,
}

/// What one read brought.
#[derive(Debug)]
pub(crate) enum Received {
    /// These requests, and perhaps news on open streams.
    Requests(Vec<Incoming>),
    /// The gateway closed it.
    Closed,
}

impl DataSocket {
    /// Takes over a connected socket.
    pub(crate) fn new(stream: UnixStream, limits: Limits) -> io::Result<DataSocket> {
        stream.set_nonblocking(true)?;
        let outbox = Arc::new(Outbox {
            stream,
            pending: Mutex::default(),
        });
        Ok(DataSocket {
            slots: Slots::new(limits),
            buffer: FrameBuffer::new(MAX_DATA_LEN, ROOM),
            outbox,
        })
    }

    /// Reads once and books every frame that is whole. Never blocks.
    pub(crate) fn receive(&mut self) -> Result<Received, Broken> {
        match (&self.outbox.stream).read(self.buffer.room()) {
            Ok(0) => return Ok(Received::Closed),
            Ok(count) => self.buffer.filled(count),
            Err(error) if would_block(&error) => {}
            Err(_) => return Ok(Received::Closed),
        }
        let mut requests = Vec::new();
        let mut out = self.outbox.lock();
        while let Some(frame) = self.buffer.next_frame()? {
            requests.extend(self.slots.receive(Data::parse(&frame)?, &mut out)?);
        }
        Ok(Received::Requests(requests))
    }

    /// Tells the gateway why this connection ends here.
    pub(crate) fn break_off(&self, why: &Broken) {
        why.encode(&mut self.outbox.lock());
        let _ = self.outbox.flush();
    }
}

impl Outbox {
    /// The bytes that wait; frames are appended here.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all that waits, with one write where the socket takes it; waits for room otherwise.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut pending = self.lock();
        let mut written = 0;
        let result = loop {
            if written == pending.len() {
                break Ok(());
            }
            match (&self.stream).write(&pending[written..]) {
                Ok(count) => written += count,
                Err(error) if would_block(&error) => {
                    if let Err(error) = wait(&mut [Waiting::write(self.stream.as_fd())], None) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        pending.clear();
        result
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
