//! Bodies of asynchronous handlers, read and written as they come.

use std::io;

use crate::aio::socket_of;
use crate::response::AsyncStreamFn;
use crate::slots::Gone;
use crate::worker::Key;

/// Bytes that an [`AsyncBodyWriter`] collects before it sends them by itself.
const COLLECTED: usize = 16 * 1024;

/// The next piece of a body that is still coming; empty at its end.
pub(crate) async fn piece(key: Key) -> io::Result<Vec<u8>> {
    let socket = socket_of(key).ok_or(Gone)?;
    socket
        .until(key.stream, |slots, out| slots.take(key.stream, out))
        .await
}

/// Reads a body that is still coming to its end.
pub(crate) async fn collect(key: Key, into: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let piece = piece(key).await?;
        if piece.is_empty() {
            return Ok(());
        }
        into.extend(piece);
    }
}

/// Has `write` write a body, and sends what it has written, also where it fails in the end.
pub(crate) async fn write(key: Key, write: Box<AsyncStreamFn>) -> io::Result<()> {
    let writer = AsyncBodyWriter {
        to: Some(key),
        collected: Vec::new(),
    };
    let (mut writer, written) = write(writer).await;
    let flushed = writer.flush().await;
    written.and(flushed)
}

/// Where a streamed body is written to. Bytes go out on [`flush`](AsyncBodyWriter::flush), at the end,
/// or when many have come together; then a write waits for a slow client.
#[derive(Debug)]
pub struct AsyncBodyWriter {
    /// Nobody, where a function is tested: all is collected.
    to: Option<Key>,
    collected: Vec<u8>,
}

impl AsyncBodyWriter {
    /// One whose bytes are kept.
    pub(crate) fn into_memory() -> AsyncBodyWriter {
        AsyncBodyWriter {
            to: None,
            collected: Vec::new(),
        }
    }

    /// What has been written into memory.
    pub(crate) fn take_memory(self) -> Vec<u8> {
        self.collected
    }

    /// Adds to the body.
    ///
    /// # Errors
    /// `ConnectionAborted` if the client has gone.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.collected.extend_from_slice(bytes.as_ref());
        match self.collected.len() > COLLECTED {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Sends what has been collected.
    ///
    /// # Errors
    /// As [`write`](AsyncBodyWriter::write).
    pub async fn flush(&mut self) -> io::Result<()> {
        let Some(key) = self.to else {
            return Ok(());
        };
        let socket = socket_of(key).ok_or(Gone)?;
        let bytes = std::mem::take(&mut self.collected);
        socket.write(key.stream, &bytes).await
    }
}
