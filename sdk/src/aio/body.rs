//! Reads and writes the bodies of asynchronous handlers piece by piece.

use std::io;

use crate::aio::socket_of;
use crate::response::AsyncStreamFn;
use crate::slots::Gone;
use crate::worker::Key;

/// Number of bytes that an [`AsyncBodyWriter`] collects before it sends them without a flush.
const COLLECTED: usize = 16 * 1024;

/// The next piece of a body that is still arriving; empty at its end.
pub(crate) async fn piece(key: Key) -> io::Result<Vec<u8>> {
    let socket = socket_of(key).ok_or(Gone)?;
    socket
        .until(key.stream, |slots, out| slots.take(key.stream, out))
        .await
}

/// Appends the rest of a body that is still arriving to `into`.
pub(crate) async fn collect(key: Key, into: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let piece = piece(key).await?;
        if piece.is_empty() {
            return Ok(());
        }
        into.extend(piece);
    }
}

/// Runs `write` and sends the bytes that it has written, even if it fails.
pub(crate) async fn write(key: Key, write: Box<AsyncStreamFn>) -> io::Result<()> {
    let writer = AsyncBodyWriter {
        to: Some(key),
        collected: Vec::new(),
    };
    let (mut writer, written) = write(writer).await;
    let flushed = writer.flush().await;
    written.and(flushed)
}

/// Writes a streamed body. It collects about 16 KiB, and sends them on [`flush`](AsyncBodyWriter::flush), at the end of
/// the body, or when more have been written; then a write waits while the client is slow.
#[derive(Debug)]
pub struct AsyncBodyWriter {
    /// The stream to write to. `None` in tests of functions, where the whole body is collected in memory.
    to: Option<Key>,
    collected: Vec<u8>,
}

impl AsyncBodyWriter {
    /// A writer that collects the whole body in memory.
    pub(crate) fn into_memory() -> AsyncBodyWriter {
        AsyncBodyWriter {
            to: None,
            collected: Vec::new(),
        }
    }

    /// Returns the bytes that a writer has collected in memory.
    pub(crate) fn take_memory(self) -> Vec<u8> {
        self.collected
    }

    /// Appends bytes to the body.
    ///
    /// # Errors
    /// `ConnectionAborted` if the client has disconnected.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.collected.extend_from_slice(bytes.as_ref());
        match self.collected.len() > COLLECTED {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Sends the collected bytes.
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
