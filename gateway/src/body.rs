//! Bodies: a request's on its way in, an answer's on its way out.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hearth_protocol::MAX_CHUNK;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::access::Entry;
use crate::failure::Failure;
use crate::handle::{Piece, StreamHandle, Uploader};

/// For so long a client may send no byte of a body it has announced. Long enough for a phone that
/// changes cells, short enough that a worker is not held for ever.
pub const STALL: Duration = Duration::from_secs(30);

/// A request's body.
pub enum Upload {
    /// All of it is here: small, and so sent with the head. A worker never waits for a slow client
    /// that sends little.
    Whole(Bytes),
    /// Longer, or of unknown length: sent as it comes.
    Coming(Incoming),
}

impl Upload {
    /// Reads the body if its announced length is small.
    pub async fn take(
        announced: Option<u64>,
        mut body: Incoming,
        max: u64,
    ) -> Result<Upload, Failure> {
        if body.is_end_stream() {
            return Ok(Upload::Whole(Bytes::new()));
        }
        match announced {
            Some(length) if length > max => Err(Failure::BodyTooLarge(max)),
            Some(length) if length <= MAX_CHUNK as u64 => {
                let mut whole = BytesMut::with_capacity(length as usize);
                while let Some(frame) = next_frame(&mut body).await? {
                    if let Ok(data) = frame.into_data() {
                        whole.extend_from_slice(&data);
                    }
                }
                Ok(Upload::Whole(whole.freeze()))
            }
            _ => Ok(Upload::Coming(body)),
        }
    }
}

/// Sends a body on as it comes, within `max` bytes.
pub async fn pump(mut body: Incoming, to: Uploader, max: u64) {
    let mut total = 0u64;
    loop {
        let frame = match next_frame(&mut body).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return to.finish(None),
            Err(failure) => return to.fail(failure),
        };
        to.progressed();
        match frame.into_data() {
            Ok(data) => {
                total += data.len() as u64;
                if total > max {
                    return to.fail(Failure::BodyTooLarge(max));
                }
                if !to.send(&data).await {
                    return;
                }
                to.progressed();
            }
            Err(other) => {
                if let Ok(trailers) = other.into_trailers() {
                    return to.finish(Some(&trailers));
                }
            }
        }
    }
}

async fn next_frame(body: &mut Incoming) -> Result<Option<Frame<Bytes>>, Failure> {
    match timeout(STALL, body.frame()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(frame))) => Ok(Some(frame)),
        Ok(Some(Err(error))) => Err(Failure::BodyBroken(error.to_string())),
        Err(_) => Err(Failure::BodyStalled(STALL)),
    }
}

/// An answer's body.
pub struct ReplyBody {
    first: Option<Bytes>,
    rest: Option<StreamHandle>,
    /// The body broke off; told once what came before has been flushed.
    broken: Option<Failure>,
    /// The line of the access log, written when the last byte has been handed over.
    entry: Option<Box<Entry>>,
}

impl ReplyBody {
    /// Bytes at hand.
    pub fn whole(bytes: Bytes) -> ReplyBody {
        ReplyBody {
            first: Some(bytes).filter(|bytes| !bytes.is_empty()),
            rest: None,
            broken: None,
            entry: None,
        }
    }

    /// First bytes, and a stream that brings the rest.
    pub fn stream(first: Bytes, rest: StreamHandle) -> ReplyBody {
        let mut body = ReplyBody::whole(first);
        body.rest = Some(rest);
        body
    }

    /// Logs the request when the body has gone out, or has not.
    pub fn log(&mut self, entry: Entry) {
        self.entry = Some(Box::new(entry));
    }

    fn sent(&mut self, bytes: &Bytes) {
        if let Some(entry) = &mut self.entry {
            entry.bytes += bytes.len() as u64;
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        if let Some(entry) = &mut self.entry
            && self.rest.is_some()
            && entry.broken.is_none()
        {
            entry.broken = Some("the client went away".to_owned());
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(bytes) = self.first.take() {
            self.sent(&bytes);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if let Some(failure) = self.broken.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        match rest.poll_body(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(Piece::Bytes(bytes)))) => {
                self.sent(&bytes);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready(Some(Ok(Piece::Trailers(trailers)))) => {
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Poll::Ready(Some(Err(failure))) => {
                if let Some(entry) = &mut self.entry {
                    entry.broken = Some(failure.to_string());
                }
                // hyper throws away what it has not written yet when it hears of an error, and
                // writes it when it has to wait.
                self.broken = Some(failure);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.rest = None;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, Bytes::len) as u64;
        match self.rest {
            None => SizeHint::with_exact(first),
            Some(_) => {
                let mut hint = SizeHint::new();
                hint.set_lower(first);
                hint
            }
        }
    }
}
