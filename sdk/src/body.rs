//! A request's body: mostly at hand with the request, else read from the gateway as it comes.

use std::cell::{OnceCell, RefCell};
use std::io::{self, Read};

use crate::ipc;
use crate::worker::Key;

/// The body of a request. Reading waits for the client where bytes are still under way.
#[derive(Debug)]
pub struct Body {
    whole: OnceCell<Vec<u8>>,
    rest: RefCell<Rest>,
}

#[derive(Debug)]
enum Rest {
    /// Came with the request, from this offset on.
    AtHand(Vec<u8>, usize),
    /// Still coming: what came with the request, then the stream.
    Coming(Vec<u8>, usize, Key),
}

impl Body {
    pub(crate) fn whole(bytes: Vec<u8>) -> Body {
        Body {
            whole: OnceCell::new(),
            rest: RefCell::new(Rest::AtHand(bytes, 0)),
        }
    }

    pub(crate) fn coming(first: Vec<u8>, key: Key) -> Body {
        Body {
            whole: OnceCell::new(),
            rest: RefCell::new(Rest::Coming(first, 0, key)),
        }
    }

    /// The whole body (what a [`Body::reader`] has not taken already), read once and kept. Its length
    /// is bounded by the gateway's `limits.body_bytes`.
    ///
    /// # Errors
    /// `ConnectionAborted` if the client or the gateway gave up before its end.
    pub fn bytes(&self) -> io::Result<&[u8]> {
        if let Some(bytes) = self.whole.get() {
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        let at_hand = match &mut *self.rest.borrow_mut() {
            Rest::AtHand(first, 0) => Some(std::mem::take(first)),
            Rest::AtHand(..) | Rest::Coming(..) => None,
        };
        match at_hand {
            Some(first) => bytes = first,
            None => {
                self.reader().read_to_end(&mut bytes)?;
            }
        }
        Ok(self.whole.get_or_init(|| bytes))
    }

    /// Reads the body piece by piece, without keeping it.
    pub fn reader(&self) -> BodyReader<'_> {
        BodyReader(self)
    }
}

/// Reads a [`Body`] as it comes.
#[derive(Debug)]
pub struct BodyReader<'a>(&'a Body);

impl Read for BodyReader<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match &mut *self.0.rest.borrow_mut() {
            Rest::AtHand(bytes, at) => Ok(take(bytes, at, room)),
            Rest::Coming(first, at, key) => match take(first, at, room) {
                0 if !room.is_empty() => ipc::read_body(*key, room),
                count => Ok(count),
            },
        }
    }
}

fn take(bytes: &[u8], at: &mut usize, room: &mut [u8]) -> usize {
    let count = room.len().min(bytes.len() - *at);
    room[..count].copy_from_slice(&bytes[*at..*at + count]);
    *at += count;
    count
}
