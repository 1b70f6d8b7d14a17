//! Bodies: a request's on its way in, an answer's on its way out.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hearth_protocol::MAX_CHUNK;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout_at;

use crate::access::Entry;
use crate::client::{PACE, STALL, Serving};
use crate::failure::Failure;
use crate::handle::{Piece, StreamHandle, Uploader};

/// A request's body.
pub enum Upload {
    /// All of it is here: small, and so sent with the head. A worker never waits for a slow client
    /// that sends little.
    Whole(Bytes),
    /// Longer, or of unknown length: sent as it comes.
    Coming(Incoming),
    /// It has been handed to a worker, and cannot be had again.
    Spent,
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
                let mut pace = Pace::new(Instant::now());
                while let Some(frame) = next_frame(&mut body, &mut pace).await? {
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
    let mut pace = Pace::new(Instant::now());
    loop {
        let frame = match next_frame(&mut body, &mut pace).await {
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
                // The time that the worker took is not the client's.
                pace = Pace::new(Instant::now());
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

async fn next_frame(body: &mut Incoming, pace: &mut Pace) -> Result<Option<Frame<Bytes>>, Failure> {
    match timeout_at(pace.deadline().into(), body.frame()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(frame))) => {
            let len = frame.data_ref().map_or(0, Bytes::len);
            pace.brought(len, Instant::now());
            Ok(Some(frame))
        }
        Ok(Some(Err(error))) => Err(Failure::BodyBroken(error.to_string())),
        Err(_) => Err(Failure::BodyStalled(STALL)),
    }
}

/// How fast a body comes: at least [`PACE`] bytes in each [`STALL`].
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(now: Instant) -> Pace {
        Pace {
            since: now,
            bytes: 0,
        }
    }

    /// When it has been too slow.
    fn deadline(&self) -> Instant {
        self.since + STALL
    }

    fn brought(&mut self, len: usize, now: Instant) {
        self.bytes += len as u64;
        if self.bytes >= PACE {
            *self = Pace::new(now);
        }
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
    /// The request lasts as long as this.
    serving: Option<Serving>,
}

impl ReplyBody {
    /// Bytes at hand.
    pub fn whole(bytes: Bytes) -> ReplyBody {
        ReplyBody {
            first: Some(bytes).filter(|bytes| !bytes.is_empty()),
            rest: None,
            broken: None,
            entry: None,
            serving: None,
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

    /// Keeps the request under way until the body is dropped.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_body_that_comes_in_drips_has_no_more_time_than_one_that_stops() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for second in 1..29 {
            pace.brought(1, start + Duration::from_secs(second));
        }
        assert_eq!(pace.deadline(), start + STALL);
        let later = start + Duration::from_secs(29);
        pace.brought(PACE as usize, later);
        assert_eq!(pace.deadline(), later + STALL);
    }
}
