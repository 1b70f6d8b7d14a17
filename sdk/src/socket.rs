//! One data socket of a blocking worker: its read buffer, its streams, and the frames that wait to be written.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearth_protocol::data::Data;
use hearth_protocol::head::Limits;
use hearth_protocol::{FrameBuffer, MAX_DATA_LEN};
use hearth_sys::wait::{Waiting, wait};

use crate::slots::{Broken, Incoming, Slots};

/// Number of bytes that one read can take: enough for a full batch of small requests, but small, because every worker
/// needs this memory.
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

/// The result of one read.
#[derive(Debug)]
pub(crate) enum Received {
    /// New requests, possibly none. Frames for open streams have been applied to these.
    Requests(Vec<Incoming>),
    /// The gateway closed the socket, or reading failed.
    Closed,
}

impl DataSocket {
    /// Takes over a connected socket and makes it non-blocking.
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

    /// Reads once and applies every complete frame. Never blocks.
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

    /// Reports to the gateway why the worker ends the connection.
    pub(crate) fn break_off(&self, why: &Broken) {
        why.encode(&mut self.outbox.lock());
        let _ = self.outbox.flush();
    }
}

impl Outbox {
    /// Locks the bytes that wait to be written. Callers append frames to them.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all bytes that wait, with a single write if the socket accepts them. Blocks while the socket is full.
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
