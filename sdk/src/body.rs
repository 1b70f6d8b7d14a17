//! The body of a request. It usually arrives together with the request; otherwise it is read from the gateway as it
//! arrives.

use std::cell::{OnceCell, RefCell};
use std::io::{self, Read};

use crate::ipc;
use crate::worker::Key;

/// The body of a request. Reading waits for bytes that the client has not sent yet.
#[derive(Debug)]
pub struct Body {
    whole: OnceCell<Vec<u8>>,
    rest: RefCell<Rest>,
}

#[derive(Debug)]
enum Rest {
    /// The whole body has arrived with the request. Bytes before the offset have been read.
    AtHand(Vec<u8>, usize),
    /// The body is still arriving: the bytes that came with the request, the offset of the first unread one, and the
    /// stream that brings the rest.
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

    /// Returns the whole body, without the bytes that a [`Body::reader`] has already read. The body is read once and
    /// then kept in memory. The gateway's `limits.body_bytes` bounds its length.
    ///
    /// # Errors
    /// `ConnectionAborted` if the client or the gateway gave up before the end of the body. In an asynchronous handler,
    /// `Unsupported` if bytes are still to arrive.
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

    /// Returns the whole body, like [`bytes`](Body::bytes), but without blocking, for asynchronous handlers.
    ///
    /// # Errors
    /// `ConnectionAborted` if the client or the gateway gave up before the end of the body.
    #[cfg(feature = "async")]
    pub async fn collect(&self) -> io::Result<&[u8]> {
        if self.whole.get().is_none() {
            let (mut bytes, key) = self.take_what_came();
            if let Some(key) = key {
                crate::aio::collect(key, &mut bytes).await?;
            }
            *self.rest.borrow_mut() = Rest::AtHand(bytes, 0);
        }
        self.bytes()
    }

    /// Returns the next piece of the body, which is not kept, or `None` at the end of the body.
    ///
    /// # Errors
    /// `ConnectionAborted` if the client or the gateway gave up before the end of the body.
    #[cfg(feature = "async")]
    pub async fn piece(&self) -> io::Result<Option<Vec<u8>>> {
        let piece = match self.take_what_came() {
            (first, Some(key)) if first.is_empty() => crate::aio::piece(key).await?,
            (first, _) => first,
        };
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }

    /// Takes the unread bytes that came with the request, and the stream that brings the rest, if there is one.
    #[cfg(feature = "async")]
    fn take_what_came(&self) -> (Vec<u8>, Option<Key>) {
        let mut rest = self.rest.borrow_mut();
        let (bytes, at, key) = match &mut *rest {
            Rest::AtHand(bytes, at) => (bytes, at, None),
            Rest::Coming(bytes, at, key) => (bytes, at, Some(*key)),
        };
        let first = std::mem::take(bytes).split_off(std::mem::take(at));
        (first, key)
    }

    /// Returns a reader for the body. The bytes that it reads are not kept.
    pub fn reader(&self) -> BodyReader<'_> {
        BodyReader(self)
    }
}

/// Reads a [`Body`] as it arrives.
#[derive(Debug)]
pub struct BodyReader<'a>(&'a Body);

impl Read for BodyReader<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match &mut *self.0.rest.borrow_mut() {
            Rest::AtHand(bytes, at) => Ok(take(bytes, at, room)),
            Rest::Coming(first, at, key) => match take(first, at, room) {
                #[cfg(feature = "async")]
                0 if crate::aio::is_running() => Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "more is to come, and this handler must not block: use `collect` or `piece`",
                )),
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
