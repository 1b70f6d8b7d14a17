//! A buffer between a byte stream and its frames. It does no I/O: its owner reads into it.

use crate::frame::{Frame, FrameError, HEADER_LEN};

/// Size in bytes up to which an empty buffer keeps its memory: enough for a body that arrives chunk after chunk.
const KEPT: usize = 2 * crate::MAX_CHUNK;

/// Collects bytes as they arrive and returns the frames in them.
///
/// Its memory is bounded by the socket's longest frame plus one read. A large buffer is freed when it is empty.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    max_len: u32,
    room: usize,
}

impl FrameBuffer {
    /// Creates a buffer for a socket whose frames have at most `max_len` bytes after their header. `room` is the number
    /// of bytes that the first read is offered.
    pub fn new(max_len: u32, room: usize) -> FrameBuffer {
        FrameBuffer {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            max_len,
            room,
        }
    }

    /// Returns the space for the next read, which is never empty. Call [`FrameBuffer::filled`] with the number of bytes
    /// read.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.bytes.len() > KEPT {
                self.bytes = Vec::new();
            }
        } else if self.start > 0 && self.bytes.len() - self.end < self.room / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        // If the header of a frame has arrived, space for the rest of that frame is offered, limited by `max_len`.
        let wanted = self
            .pending_frame_len()
            .saturating_sub(self.end - self.start);
        let room = if self.start == self.end {
            self.room
        } else {
            wanted.max(self.room / 2)
        };
        if self.bytes.is_empty() {
            // The allocator provides fresh zeroed pages, which take no memory until they are written.
            self.bytes = vec![0; room];
        } else if self.bytes.len() < self.end + room {
            self.bytes.resize(self.end + room, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Records that a read put `count` bytes at the start of the space from [`FrameBuffer::room`].
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// The next complete frame, or `None` if more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let (start, end) = (self.start, self.end);
        match Frame::decode(&self.bytes[start..end], self.max_len)? {
            Some((frame, taken)) => {
                self.start += taken;
                Ok(Some(frame))
            }
            None => Ok(None),
        }
    }

    /// Whether the buffer is empty. If it is not empty at the end of the byte stream, the peer stopped within a frame.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Total length in bytes of the first frame, as far as its header has arrived, limited by `max_len`.
    fn pending_frame_len(&self) -> usize {
        match self.bytes[self.start..self.end].first_chunk::<4>() {
            Some(len) => HEADER_LEN + u32::from_le_bytes(*len).min(self.max_len) as usize,
            None => HEADER_LEN,
        }
    }
}
