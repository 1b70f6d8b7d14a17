//! Handles on a stream. [`StreamHandle`] waits for the response and reads its body, [`Uploader`] sends the rest of the
//! request's body. Their wakers and the data that they wait for are in the stream's state ([`crate::stream`]).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hearth_protocol::MAX_CHUNK;
use hearth_protocol::data::{CancelReason, Data};
use hearth_protocol::head::{Pair, RequestHead};
use http::HeaderMap;

use crate::channel::Channel;
use crate::failure::Failure;
use crate::head;
use crate::pool::Lease;
use crate::stream::{Answer, StreamId, StreamState, Streams, Time};

/// Waits for a stream's response and reads its body. Dropping the handle cancels what is left of the stream.
pub struct StreamHandle {
    channel: Rc<Channel>,
    stream: StreamId,
    epoch: u32,
    cancel: CancelReason,
}

/// Sends the rest of a request's body.
pub struct Uploader {
    channel: Rc<Channel>,
    stream: StreamId,
    epoch: u32,
}

impl StreamHandle {
    /// Sends a request's head and the first bytes of its body on a free stream of the channel. With `end`, `body` is the
    /// complete body.
    ///
    /// # Errors
    /// [`Failure::NotSent`] if the channel is closed or retired, [`Failure::HeadTooLarge`] if head and body do not fit
    /// into one frame. In both cases the lease is returned.
    pub fn send(
        channel: &Rc<Channel>,
        lease: Lease,
        time: Time,
        head: &RequestHead<'_>,
        body: &[u8],
        end: bool,
    ) -> Result<StreamHandle, Failure> {
        let (stream, epoch) = channel.open_stream(lease, time, head, body, end)?;
        Ok(StreamHandle {
            channel: Rc::clone(channel),
            stream,
            epoch,
            cancel: CancelReason::ClientGone,
        })
    }

    /// The worker that serves the stream.
    pub fn worker(&self) -> u32 {
        self.channel.worker.id
    }

    /// Waits for the head of the response.
    pub async fn answer(&self) -> Result<Answer, Failure> {
        poll_fn(|cx| {
            let mut streams = self.channel.streams.borrow_mut();
            let state = streams.state(self.stream);
            if let Some(outcome) = state.take_outcome() {
                return Poll::Ready(outcome);
            }
            state.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Sets the reason that CANCEL gives if the handle is dropped before the response is complete.
    pub fn cancel_as(&mut self, reason: CancelReason) {
        self.cancel = reason;
    }

    /// Creates an [`Uploader`] for the rest of the body.
    pub fn uploader(&self) -> Uploader {
        Uploader {
            channel: Rc::clone(&self.channel),
            stream: self.stream,
            epoch: self.epoch,
        }
    }

    /// The next piece of the response's body, and `None` at its end. Trailers are the last piece.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        let mut streams = self.channel.streams.borrow_mut();
        let state = streams.state(self.stream);
        if let Some(bytes) = state.body.pop_front() {
            let credit = state.receive_credit.consumed(bytes.len());
            let credit = credit.filter(|_| state.is_receiving());
            drop(streams);
            if let Some(credit) = credit {
                let stream = self.stream.get();
                self.channel
                    .append(|out| Data::Window { stream, credit }.encode(out));
            }
            return Poll::Ready(Some(Ok(Piece::Bytes(bytes))));
        }
        if let Some(failure) = state.body_error.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        if let Some(trailers) = state.trailers.take() {
            return Poll::Ready(Some(Ok(Piece::Trailers(trailers))));
        }
        if !state.is_receiving() {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A piece of a response's body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of the body.
    Bytes(Bytes),
    /// The trailers after the body.
    Trailers(HeaderMap),
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        let mut streams = self.channel.streams.borrow_mut();
        let must_cancel = streams.state(self.stream).drop_handle();
        streams.free_if_done(self.stream);
        drop(streams);
        if must_cancel {
            self.channel.cancel(self.stream, self.cancel);
        }
    }
}

impl Uploader {
    /// Sends `bytes` as credit allows. Returns `false` when the stream no longer accepts a body.
    pub async fn send(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let count = poll_fn(|cx| {
                let mut streams = self.channel.streams.borrow_mut();
                let Some(state) = self.state(&mut streams) else {
                    return Poll::Ready(0);
                };
                let count = bytes.len().min(MAX_CHUNK);
                let count = count.min(state.send_credit.available());
                if count == 0 || !state.send_credit.spend(count) {
                    state.uploader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(count)
            })
            .await;
            if count == 0 {
                return false;
            }
            let (now, later) = bytes.split_at(count);
            let data = Data::Data {
                stream: self.stream.get(),
                bytes: now,
                end: false,
            };
            self.channel.append(|out| data.encode(out));
            bytes = later;
        }
        true
    }

    /// Restarts the function's timeout, because the body has made progress.
    pub fn progressed(&self) {
        let mut streams = self.channel.streams.borrow_mut();
        if let Some(state) = self.state(&mut streams) {
            state.extend_deadline();
        }
    }

    /// Ends the body, with trailers if the client has sent any.
    pub fn finish(&self, trailers: Option<&HeaderMap>) {
        let mut streams = self.channel.streams.borrow_mut();
        let Some(state) = self.state(&mut streams) else {
            return;
        };
        state.end_sending();
        streams.free_if_done(self.stream);
        drop(streams);
        let fields = trailers.and_then(|trailers| {
            let mut fields = Vec::new();
            let pairs: Vec<Pair<'_>> = head::pairs(trailers).collect();
            self.channel
                .worker
                .codec
                .encode(&pairs, &mut fields)
                .ok()
                .map(|()| fields)
        });
        let stream = self.stream.get();
        self.channel.append(|out| match &fields {
            Some(fields) => Data::Trailers { stream, fields }.encode(out),
            None => Data::Data {
                stream,
                bytes: b"",
                end: true,
            }
            .encode(out),
        });
    }

    /// Cancels the request. The task that waits for its response receives `failure`.
    pub fn fail(&self, failure: Failure) {
        let mut streams = self.channel.streams.borrow_mut();
        let Some(state) = self.state(&mut streams) else {
            return;
        };
        state.give_up();
        state.fail_request(failure);
        drop(streams);
        self.channel.cancel(self.stream, CancelReason::BodyFailed);
    }

    /// The stream's state, if the stream still belongs to this request and accepts more of its body.
    fn state<'a>(&self, streams: &'a mut Streams) -> Option<&'a mut StreamState> {
        let state = streams.state(self.stream);
        state.accepts_body(self.epoch).then_some(state)
    }
}
