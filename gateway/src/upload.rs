//! The body of a request, as it arrives from the client.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hearth_manifest::GatewayLimits;
use hearth_protocol::MAX_CHUNK;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout_at;

use crate::client::Traffic;
use crate::failure::Failure;
use crate::handle::Uploader;
use crate::time_limits::pace;

/// A request's body.
pub enum Upload {
    /// The whole body. It is small and is sent with the head, so that no worker waits for a slow client with a small
    /// body.
    Whole(Bytes),
    /// A body that is larger or of unknown length. It is forwarded as it arrives.
    Coming(Arriving),
    /// The body has been handed to a worker and cannot be sent again.
    Spent,
}

impl Upload {
    /// Reads the whole body if its announced length is small, and fails if it is above the limit.
    pub async fn take(announced: Option<u64>, mut body: Arriving) -> Result<Upload, Failure> {
        if body.body.is_end_stream() {
            return Ok(Upload::Whole(Bytes::new()));
        }
        match announced {
            Some(length) if length > body.max => Err(Failure::BodyTooLarge(body.max)),
            Some(length) if length <= MAX_CHUNK as u64 => {
                let mut whole = BytesMut::with_capacity(length as usize);
                while let Some(frame) = body.next().await? {
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

/// A body that is still arriving, with its limits of length and time.
pub struct Arriving {
    body: Incoming,
    max: u64,
    total: u64,
    pace: Pace,
    traffic: Rc<Traffic>,
    ended: bool,
}

impl Arriving {
    /// Starts to read a body from the connection of `traffic`. `begun` is when the request arrived.
    pub fn new(
        body: Incoming,
        limits: &GatewayLimits,
        traffic: &Rc<Traffic>,
        begun: Instant,
    ) -> Arriving {
        Arriving {
            body,
            max: limits.body_bytes,
            total: 0,
            pace: Pace::new(limits.stall_timeout, begun),
            traffic: Rc::clone(traffic),
            ended: false,
        }
    }

    /// The next piece or the trailers, or `None` at the end.
    async fn next(&mut self) -> Result<Option<Frame<Bytes>>, Failure> {
        let next = timeout_at(self.pace.deadline().into(), self.body.frame()).await;
        let frame = match next {
            Err(_) => return Err(Failure::BodyStalled(self.pace.stall)),
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => {
                self.ended = true;
                return Ok(None);
            }
            Ok(Some(Err(error))) => {
                self.ended = true;
                return Err(Failure::BodyBroken(error.to_string()));
            }
        };
        let len = frame.data_ref().map_or(0, Bytes::len);
        self.total += len as u64;
        if self.total > self.max {
            return Err(Failure::BodyTooLarge(self.max));
        }
        self.pace.brought(len, Instant::now());
        Ok(Some(frame))
    }

    /// Forwards the body to a worker. Over HTTP/1.1, a body that the worker no longer needs is read to its end and
    /// discarded, so that the connection can be used for the next request.
    pub async fn pump(mut self, to: Uploader) {
        loop {
            let frame = match self.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return to.finish(None),
                Err(failure) => return to.fail(failure),
            };
            to.progressed();
            match frame.into_data() {
                Ok(data) => {
                    if !to.send(&data).await {
                        while self.traffic.is_in_order() && matches!(self.next().await, Ok(Some(_)))
                        {
                        }
                        return;
                    }
                    // The time that the worker took does not count against the client.
                    self.pace = Pace::new(self.pace.stall, Instant::now());
                    to.progressed();
                }
                Err(other) => {
                    if let Ok(trailers) = other.into_trailers() {
                        self.ended = true;
                        return to.finish(Some(&trailers));
                    }
                }
            }
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.traffic.left_unread();
        }
    }
}

/// Measures the rate of a body: at least [`pace`] bytes in each `stall`.
#[derive(Clone, Copy, Debug)]
struct Pace {
    stall: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(stall: Duration, now: Instant) -> Pace {
        Pace {
            stall,
            since: now,
            bytes: 0,
        }
    }

    /// When the body counts as stalled.
    fn deadline(&self) -> Instant {
        self.since + self.stall
    }

    fn brought(&mut self, len: usize, now: Instant) {
        self.bytes += len as u64;
        if self.bytes >= pace(self.stall) {
            *self = Pace::new(self.stall, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_comes_in_drips_has_no_more_time_than_one_that_stops() {
        const STALL: Duration = Duration::from_secs(30);
        let start = Instant::now();
        let mut drips = Pace::new(STALL, start);
        for second in 1..29 {
            drips.brought(1, start + Duration::from_secs(second));
        }
        assert_eq!(drips.deadline(), start + STALL);
        let later = start + Duration::from_secs(29);
        drips.brought(pace(STALL) as usize, later);
        assert_eq!(drips.deadline(), later + STALL);
    }
}
