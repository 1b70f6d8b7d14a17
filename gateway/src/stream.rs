//! The streams of one channel: slots, their states, and the handles that wait on them.
//!
//! A slot is in use until both directions are closed on the wire *and* its handle is gone; its lease
//! goes back as soon as the worker has ended its direction, because then the worker is free.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_protocol::credit::Receipt;
use hearth_protocol::data::{CancelReason, Data, ErrorCode};
use hearth_protocol::frame::Kind;
use hearth_protocol::head::Pair;
use hearth_protocol::{Codec, Credit, MAX_CHUNK};
use http::HeaderMap;

use crate::channel::{Booked, Channel, Closed};
use crate::failure::Failure;
use crate::head;
use crate::pool::Lease;

/// The head of an answer, and its body if that came whole with it.
#[derive(Debug)]
pub struct Answer {
    /// The head, with an empty body.
    pub head: http::response::Parts,
    /// All of the body, or its first bytes.
    pub first: Bytes,
    /// Nothing follows.
    pub end: bool,
}

/// A request's time: when it was asked for, and how long until the head of its answer.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// The beginning.
    pub asked: Instant,
    /// The function's timeout.
    pub limit: Duration,
}

/// All streams of one channel. Slot numbers are places in the list, from 1.
#[derive(Debug)]
pub(crate) struct Streams {
    slots: Vec<Slot>,
    free: Vec<u32>,
    open: usize,
    credit: u32,
}

#[derive(Debug)]
struct Slot {
    /// Counts uses of the slot, so that a late uploader cannot write into somebody else's stream.
    epoch: u32,
    lease: Option<Lease>,
    /// The head of the answer must have come by then; an upload that comes on moves it.
    deadline: Instant,
    timeout: Duration,
    /// Where in the channel's output its first byte is.
    position: u64,
    /// We have ended our direction.
    sent_end: bool,
    /// The worker has ended its direction.
    got_end: bool,
    /// The handle still exists.
    held: bool,
    answer: Option<Result<Answer, Failure>>,
    /// There is an outcome: the worker's head, or that we gave up.
    answered: bool,
    /// The worker's head has come, wanted or not.
    head_came: bool,
    /// Body bytes that follow the head, and the fields after them.
    body: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// The body broke off.
    broken: Option<Failure>,
    receipt: Receipt,
    send: Credit,
    reader: Option<Waker>,
    uploader: Option<Waker>,
}

impl Streams {
    pub(crate) fn new(credit: u32) -> Streams {
        Streams {
            slots: Vec::new(),
            free: Vec::new(),
            open: 0,
            credit,
        }
    }

    /// Whether the worker has nothing to do for this channel.
    pub(crate) fn is_idle(&self) -> bool {
        self.open == 0
    }

    pub(crate) fn epoch(&self, stream: u32) -> u32 {
        self.slots[stream as usize - 1].epoch
    }

    /// Takes a free slot for a request.
    pub(crate) fn open(&mut self, lease: Lease, time: Time, sent_end: bool, position: u64) -> u32 {
        self.open += 1;
        let slot = |epoch| Slot {
            epoch,
            lease: Some(lease),
            deadline: time.asked + time.limit,
            timeout: time.limit,
            position,
            sent_end,
            got_end: false,
            held: true,
            answer: None,
            answered: false,
            head_came: false,
            body: VecDeque::new(),
            trailers: None,
            broken: None,
            receipt: Receipt::new(self.credit),
            send: Credit::new(self.credit),
            reader: None,
            uploader: None,
        };
        match self.free.pop() {
            Some(stream) => {
                let place = &mut self.slots[stream as usize - 1];
                *place = slot(place.epoch.wrapping_add(1));
                stream
            }
            None => {
                self.slots.push(slot(0));
                self.slots.len() as u32
            }
        }
    }

    /// Takes back a slot whose request could not be written at all.
    pub(crate) fn discard(&mut self, stream: u32) {
        let slot = &mut self.slots[stream as usize - 1];
        slot.lease = None;
        slot.sent_end = true;
        slot.got_end = true;
        slot.held = false;
        self.open -= 1;
        self.free.push(stream);
    }

    /// Books one message of the worker: leases that come free and those to be woken are put into
    /// `booked`; what must be sent in reply is returned.
    pub(crate) fn receive(
        &mut self,
        message: Data<'_>,
        codec: Codec,
        booked: &mut Booked,
    ) -> Result<Option<Data<'static>>, Closed> {
        let broken = |kind: Kind, stream: u32, what: &str| {
            Err(Closed::Protocol(format!(
                "{} frame on slot {stream}: {what}",
                kind.name()
            )))
        };
        match message {
            Data::Response {
                stream,
                head,
                body,
                end,
            } => {
                let Some(slot) = self.live(stream) else {
                    return broken(Kind::Response, stream, "nobody asked");
                };
                if std::mem::replace(&mut slot.head_came, true) {
                    return broken(Kind::Response, stream, "answered before");
                }
                if let Some(lease) = slot.lease.as_mut().filter(|_| !end) {
                    lease.streams();
                }
                // After we gave up (a timeout, a body too large) it is no longer wanted, but no
                // breach of the rules either: the worker had not heard of it.
                if !slot.answered {
                    slot.answered = true;
                    let answer = head::decode(codec, head).map(|head| Answer {
                        head,
                        first: Bytes::copy_from_slice(body),
                        end,
                    });
                    slot.answer = Some(answer.map_err(Failure::BadAnswer));
                }
                booked.wakers.extend(slot.reader.take());
                self.got_end_if(stream, end, &mut booked.ended);
            }
            Data::Data { stream, bytes, end } => {
                let Some(slot) = self.live(stream) else {
                    return broken(Kind::Data, stream, "slot is not open");
                };
                if !slot.head_came {
                    return broken(Kind::Data, stream, "before the head");
                }
                if !slot.receipt.arrived(bytes.len()) {
                    return broken(Kind::Data, stream, "more than there was credit for");
                }
                if slot.held && !bytes.is_empty() {
                    slot.body.push_back(Bytes::copy_from_slice(bytes));
                }
                booked.wakers.extend(slot.reader.take());
                self.got_end_if(stream, end, &mut booked.ended);
            }
            Data::Trailers { stream, fields } => {
                let Some(slot) = self.live(stream).filter(|slot| slot.head_came) else {
                    return broken(Kind::Trailers, stream, "without an answer");
                };
                let pairs: Vec<Pair<'_>> = codec
                    .decode(fields)
                    .map_err(|error| Closed::Protocol(error.to_string()))?;
                match head::header_map(&pairs) {
                    Ok(trailers) => slot.trailers = Some(trailers),
                    Err(what) => slot.broken = Some(Failure::BadAnswer(what)),
                }
                booked.wakers.extend(slot.reader.take());
                self.got_end_if(stream, true, &mut booked.ended);
            }
            Data::Window { stream, credit } => {
                // After our END nobody needs the credit any more.
                if let Some(slot) = self.live(stream) {
                    if slot.send.give(credit).is_err() {
                        return broken(Kind::Window, stream, "credit beyond 4 GiB");
                    }
                    slot.wake_uploader();
                }
            }
            Data::Error {
                stream,
                code,
                retry_safe,
                reason,
            } => {
                let Some(slot) = self.live(stream) else {
                    return broken(Kind::Error, stream, "slot is not open");
                };
                let failure = match (retry_safe, code) {
                    (true, _) => Failure::Refused(reason.to_owned()),
                    (false, ErrorCode::Protocol) => Failure::Protocol(reason.to_owned()),
                    (false, _) => Failure::Worker(reason.to_owned()),
                };
                slot.fail(failure);
                slot.sent_end = true;
                self.got_end_if(stream, true, &mut booked.ended);
            }
            Data::Goaway { not_started } => {
                for stream in not_started.iter() {
                    let Some(slot) = self.live(stream).filter(|slot| !slot.head_came) else {
                        return broken(Kind::Goaway, stream, "lists a slot that is not waiting");
                    };
                    slot.fail(Failure::Refused("it is stopping".to_owned()));
                    slot.sent_end = true;
                    self.got_end_if(stream, true, &mut booked.ended);
                }
            }
            Data::Message { stream, .. } => {
                return broken(Kind::Message, stream, "the stream is no WebSocket");
            }
            Data::Unknown { stream: 0, .. } => {}
            Data::Unknown { stream, .. } => {
                let Some(slot) = self.live(stream) else {
                    return broken(Kind::Unknown(0), stream, "slot is not open");
                };
                slot.fail(Failure::Protocol("a frame of an unknown kind".to_owned()));
                let reason = CancelReason::BodyFailed;
                slot.sent_end = true;
                return Ok(Some(Data::Cancel { stream, reason }));
            }
            Data::Request { stream, .. } => {
                return broken(Kind::Request, stream, "gateways send these");
            }
            Data::Cancel { stream, .. } => {
                return broken(Kind::Cancel, stream, "gateways send these");
            }
        }
        Ok(self.close_our_side(stream_of(&message)))
    }

    /// An answer that is complete while our body is not: the rest of it is no longer wanted.
    fn close_our_side(&mut self, stream: u32) -> Option<Data<'static>> {
        let slot = self.slots.get_mut((stream as usize).checked_sub(1)?)?;
        if !slot.got_end || slot.sent_end {
            return None;
        }
        slot.sent_end = true;
        slot.wake_uploader();
        self.free_if_done(stream);
        Some(Data::Cancel {
            stream,
            reason: CancelReason::Answered,
        })
    }

    fn got_end_if(&mut self, stream: u32, end: bool, ended: &mut Vec<Lease>) {
        if !end {
            return;
        }
        let slot = &mut self.slots[stream as usize - 1];
        slot.got_end = true;
        ended.extend(slot.lease.take());
        self.open -= 1;
        self.free_if_done(stream);
    }

    fn free_if_done(&mut self, stream: u32) {
        let slot = &mut self.slots[stream as usize - 1];
        if slot.sent_end && slot.got_end && !slot.held {
            slot.answer = None;
            slot.body = VecDeque::new();
            self.free.push(stream);
        }
    }

    /// The slot, if the worker has not ended its direction of it.
    fn live(&mut self, stream: u32) -> Option<&mut Slot> {
        let slot = self.slots.get_mut((stream as usize).checked_sub(1)?)?;
        // A slot in the free list has both ends closed, so this covers it.
        (!slot.got_end).then_some(slot)
    }

    /// Fails every stream whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        for slot in self
            .slots
            .iter_mut()
            .filter(|slot| !slot.answered && slot.deadline <= now)
        {
            let timeout = slot.timeout;
            slot.fail(Failure::Timeout(timeout));
        }
    }

    /// The channel is gone: fails whatever has no whole answer. Returns the leases.
    pub(crate) fn fail_all(&mut self, written: u64, why: &Closed) -> Vec<Lease> {
        let mut leases = Vec::new();
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.got_end {
                continue;
            }
            slot.fail(match why {
                _ if slot.position >= written => Failure::NotSent,
                Closed::Gone => Failure::WorkerGone,
                Closed::Protocol(what) => Failure::Protocol(what.clone()),
                Closed::Peer(what) => {
                    Failure::Protocol(format!("it closed the connection: {what}"))
                }
            });
            slot.sent_end = true;
            self.got_end_if(index as u32 + 1, true, &mut leases);
        }
        leases
    }
}

fn stream_of(message: &Data<'_>) -> u32 {
    match *message {
        Data::Request { stream, .. }
        | Data::Response { stream, .. }
        | Data::Data { stream, .. }
        | Data::Trailers { stream, .. }
        | Data::Window { stream, .. }
        | Data::Message { stream, .. }
        | Data::Cancel { stream, .. }
        | Data::Error { stream, .. }
        | Data::Unknown { stream, .. } => stream,
        Data::Goaway { .. } => 0,
    }
}

impl Slot {
    fn fail(&mut self, failure: Failure) {
        if self.answered {
            self.broken = Some(failure);
        } else {
            self.answered = true;
            self.answer = Some(Err(failure));
        }
        self.wake_reader();
        self.wake_uploader();
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_uploader(&mut self) {
        if let Some(waker) = self.uploader.take() {
            waker.wake();
        }
    }
}

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
        let cancel = !slot.got_end;
        if cancel {
            // The worker still ends its direction, and the slot and the lease wait for that.
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
