//! The body of a response, as hyper reads it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::access::Entry;
use crate::client::Serving;
use crate::failure::Failure;
use crate::handle::{Piece, StreamHandle};

/// The body of a response.
pub struct ReplyBody {
    first: Option<Bytes>,
    rest: Option<StreamHandle>,
    /// Why the body broke off. It is returned only after hyper has flushed the bytes before it.
    broken: Option<Failure>,
    /// The access log record, which is written when the body is dropped.
    entry: Option<Box<Entry>>,
    /// Keeps the request counted as in progress until the body is dropped.
    serving: Option<Serving>,
}

impl ReplyBody {
    /// Creates a body whose bytes are all present.
    pub fn whole(bytes: Bytes) -> ReplyBody {
        ReplyBody {
            first: Some(bytes).filter(|bytes| !bytes.is_empty()),
            rest: None,
            broken: None,
            entry: None,
            serving: None,
        }
    }

    /// Creates a body of first bytes and a stream that delivers the rest.
    pub fn stream(first: Bytes, rest: StreamHandle) -> ReplyBody {
        let mut body = ReplyBody::whole(first);
        body.rest = Some(rest);
        body
    }

    /// Logs the request when the body is dropped, whether it was sent completely or not.
    pub fn log(&mut self, entry: Entry) {
        self.entry = Some(Box::new(entry));
    }

    /// Counts the request as in progress until the body is dropped.
    pub fn hold(&mut self, serving: Serving) {
        self.serving = Some(serving);
    }

    fn sent(&mut self, bytes: &Bytes) {
        if let Some(serving) = &mut self.serving {
            serving.handed_over(bytes.len());
        }
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
        if let Some(serving) = &mut self.serving {
            serving.asked();
        }
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
                // hyper discards bytes that it has not written yet when the body returns an error, and writes them when
                // the body is pending. So this poll is pending, and the next one returns the error.
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
