//! A buffer between a stream of bytes and its frames. No I/O: the owner reads into it.

use crate::frame::{Frame, FrameError, HEADER_LEN};

/// Memory kept when the buffer runs empty: enough for a body that streams, chunk after chunk.
const KEPT: usize = 2 * crate::MAX_CHUNK;

/// Collects bytes as they come and hands out the frames in them.
///
/// Its memory is bounded by the socket's longest frame plus one read, and goes back to
/// little when it runs empty.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    max_len: u32,
    room: usize,
}

impl FrameBuffer {
    /// For a socket whose frames are at most `max_len` after their header; `room` bytes are offered
    /// to a read at first.
    pub fn new(max_len: u32, room: usize) -> FrameBuffer {
        FrameBuffer {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            max_len,
            room,
        }
    }

    /// Where the next read goes; never empty. Call [`FrameBuffer::filled`] with what it brought.
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
        // A frame that is known to need more gets just that, once its length has been checked.
        let wanted = self
            .pending_frame_len()
            .saturating_sub(self.end - self.start);
        let room = if self.start == self.end {
            self.room
        } else {
            wanted.max(self.room / 2)
        };
        if self.bytes.is_empty() {
            // Fresh zeros of the allocator: room that nothing comes into takes no memory.
            self.bytes = vec![0; room];
        } else if self.bytes.len() < self.end + room {
            self.bytes.resize(self.end + room, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Says that a read put `count` bytes at the start of the room.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// The next whole frame, or `None` until more bytes have come.
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

    /// Whether bytes of an unfinished frame are in it: at the end of a stream, a peer that stopped
    /// in the middle of one.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes that the frame at the front takes in all, as far as its header says and the limit allows.
    fn pending_frame_len(&self) -> usize {
        match self.bytes[self.start..self.end].first_chunk::<4>() {
            Some(len) => HEADER_LEN + u32::from_le_bytes(*len).min(self.max_len) as usize,
            None => HEADER_LEN,
        }
    }
}
