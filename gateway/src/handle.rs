//! Handles on a stream: one waits for the answer and reads its body, one sends the rest of the
//! request's body. Their wakers and what they wait for are in the stream's slot ([`crate::stream`]).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hearth_protocol::MAX_CHUNK;
use hearth_protocol::data::{CancelReason, Data};
use hearth_protocol::head::Pair;
use http::HeaderMap;

use crate::channel::Channel;
use crate::failure::Failure;
use crate::head;
use crate::stream::{Answer, STUCK, Slot, Streams};

/// The one who waits for a stream's answer and reads its body. Dropping it cancels what is left.
pub struct StreamHandle {
    channel: Rc<Channel>,
    stream: u32,
    epoch: u32,
    cancel: CancelReason,
}

/// The one who sends the rest of a request's body.
pub struct Uploader {
    channel: Rc<Channel>,
    stream: u32,
    epoch: u32,
}

impl StreamHandle {
    pub(crate) fn new(channel: Rc<Channel>, stream: u32, epoch: u32) -> StreamHandle {
        StreamHandle {
            channel,
            stream,
            epoch,
            cancel: CancelReason::ClientGone,
        }
    }

    /// The worker that answers.
    pub fn worker(&self) -> u32 {
        self.channel.worker.id
    }

    /// Waits for the head of the answer.
    pub async fn answer(&self) -> Result<Answer, Failure> {
        poll_fn(|cx| {
            let mut streams = self.channel.streams.borrow_mut();
            let slot = &mut streams.slots[self.stream as usize - 1];
            match slot.answer.take() {
                Some(answer) => Poll::Ready(answer),
                None => {
                    slot.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// What to tell the worker if this is dropped early.
    pub fn cancel_as(&mut self, reason: CancelReason) {
        self.cancel = reason;
    }

    /// For sending the rest of the body.
    pub fn uploader(&self) -> Uploader {
        Uploader {
            channel: Rc::clone(&self.channel),
            stream: self.stream,
            epoch: self.epoch,
        }
    }

    /// The next piece of the answer's body; `None` at its end, trailers in the last place.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        let mut streams = self.channel.streams.borrow_mut();
        let slot = &mut streams.slots[self.stream as usize - 1];
        if let Some(bytes) = slot.body.pop_front() {
            let credit = slot.receipt.consumed(bytes.len()).filter(|_| !slot.got_end);
            drop(streams);
            if let Some(credit) = credit {
                self.channel.append(|out| {
                    Data::Window {
                        stream: self.stream,
                        credit,
                    }
                    .encode(out)
                });
            }
            return Poll::Ready(Some(Ok(Piece::Bytes(bytes))));
        }
        if let Some(failure) = slot.broken.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        if let Some(trailers) = slot.trailers.take() {
            return Poll::Ready(Some(Ok(Piece::Trailers(trailers))));
        }
        if slot.got_end {
            return Poll::Ready(None);
        }
        slot.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A piece of an answer's body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of it.
    Bytes(Bytes),
    /// The fields after it.
    Trailers(HeaderMap),
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        let mut streams = self.channel.streams.borrow_mut();
        let slot = &mut streams.slots[self.stream as usize - 1];
        slot.held = false;
        slot.body = VecDeque::new();
        slot.wake_uploader();
        let cancel = !slot.got_end && !slot.cancelled;
        if !slot.got_end {
            slot.cancelled = true;
            // The worker still ends its direction, and the slot and the lease wait for that: so long
            // as the request itself might have taken, and a little longer.
            let until = Instant::now() + slot.timeout + STUCK;
            slot.patience = slot.patience.or(Some(until));
            slot.sent_end = true;
        }
        streams.free_if_done(self.stream);
        drop(streams);
        if cancel {
            let (stream, reason) = (self.stream, self.cancel);
            self.channel
                .append(|out| Data::Cancel { stream, reason }.encode(out));
        }
    }
}

impl Uploader {
    /// Sends `bytes`, waiting for credit; `false` once nobody wants them any more.
    pub async fn send(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let count = poll_fn(|cx| {
                let mut streams = self.channel.streams.borrow_mut();
                let Some(slot) = self.slot(&mut streams) else {
                    return Poll::Ready(0);
                };
                let count = bytes.len().min(MAX_CHUNK).min(slot.send.available());
                if count == 0 || !slot.send.spend(count) {
                    slot.uploader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(count)
            })
            .await;
            if count == 0 {
                return false;
            }
            let (now, later) = bytes.split_at(count);
            self.channel.append(|out| {
                Data::Data {
                    stream: self.stream,
                    bytes: now,
                    end: false,
                }
                .encode(out)
            });
            bytes = later;
        }
        true
    }

    /// The body has come on: the time until the answer begins anew.
    pub fn progressed(&self) {
        let mut streams = self.channel.streams.borrow_mut();
        if let Some(slot) = self.slot(&mut streams) {
            slot.deadline = Instant::now() + slot.timeout;
        }
    }

    /// Ends the body, with trailers if there are any.
    pub fn finish(&self, trailers: Option<&HeaderMap>) {
        let mut streams = self.channel.streams.borrow_mut();
        let Some(slot) = self.slot(&mut streams) else {
            return;
        };
        slot.sent_end = true;
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
        let stream = self.stream;
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

    /// Breaks the request off: whoever waits for its answer gets `failure`.
    pub fn fail(&self, failure: Failure) {
        let mut streams = self.channel.streams.borrow_mut();
        let Some(slot) = self.slot(&mut streams) else {
            return;
        };
        slot.sent_end = true;
        slot.cancelled = true;
        slot.patience = Some(Instant::now() + slot.timeout + STUCK);
        if !slot.answered || slot.answer.is_some() {
            slot.answered = true;
            slot.answer = Some(Err(failure));
        } else {
            slot.broken = Some(failure);
        }
        slot.wake_reader();
        drop(streams);
        let (stream, reason) = (self.stream, CancelReason::BodyFailed);
        self.channel
            .append(|out| Data::Cancel { stream, reason }.encode(out));
    }

    /// The slot, as long as it is still the same request's and its body is wanted.
    fn slot<'a>(&self, streams: &'a mut Streams) -> Option<&'a mut Slot> {
        let slot = &mut streams.slots[self.stream as usize - 1];
        (slot.epoch == self.epoch && !slot.sent_end && slot.held).then_some(slot)
    }
}
