//! The streams of one channel: slots and their states. Those who wait on them are in
//! [`crate::handle`].
//!
//! A slot is in use until both directions are closed on the wire *and* its handle is gone; its lease
//! goes back as soon as the worker has ended its direction, because then the worker is free.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_protocol::credit::Receipt;
use hearth_protocol::data::{CancelReason, Data, ErrorCode};
use hearth_protocol::frame::Kind;
use hearth_protocol::head::Pair;
use hearth_protocol::{Codec, Credit};
use http::HeaderMap;

use crate::channel::{Booked, Closed};
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

/// A worker must end a request that was given up within this time, after the request's own.
pub(crate) const STUCK: Duration = Duration::from_secs(5);

/// All streams of one channel. Slot numbers are places in the list, from 1.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) slots: Vec<Slot>,
    free: Vec<u32>,
    open: usize,
    credit: u32,
}

#[derive(Debug)]
pub(crate) struct Slot {
    /// Counts uses of the slot, so that a late uploader cannot write into somebody else's stream.
    pub(crate) epoch: u32,
    lease: Option<Lease>,
    /// The head of the answer must have come by then; an upload that comes on moves it.
    pub(crate) deadline: Instant,
    pub(crate) timeout: Duration,
    /// CANCEL has been sent; once is enough.
    pub(crate) cancelled: bool,
    /// It was given up; the worker must have ended it by then.
    pub(crate) patience: Option<Instant>,
    /// Where in the channel's output its first byte is.
    position: u64,
    /// We have ended our direction.
    pub(crate) sent_end: bool,
    /// The worker has ended its direction.
    pub(crate) got_end: bool,
    /// The handle still exists.
    pub(crate) held: bool,
    pub(crate) answer: Option<Result<Answer, Failure>>,
    /// There is an outcome: the worker's head, or that we gave up.
    pub(crate) answered: bool,
    /// The worker's head has come, wanted or not.
    head_came: bool,
    /// Body bytes that follow the head, and the fields after them.
    pub(crate) body: VecDeque<Bytes>,
    pub(crate) trailers: Option<HeaderMap>,
    /// The body broke off.
    pub(crate) broken: Option<Failure>,
    pub(crate) receipt: Receipt,
    pub(crate) send: Credit,
    pub(crate) reader: Option<Waker>,
    pub(crate) uploader: Option<Waker>,
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
            cancelled: false,
            patience: None,
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
                slot.cancelled = true;
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

    pub(crate) fn free_if_done(&mut self, stream: u32) {
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

    /// Fails every stream whose time is over; says whether the worker is stuck on one.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let mut stuck = false;
        for slot in &mut self.slots {
            if !slot.answered && slot.deadline <= now {
                let timeout = slot.timeout;
                slot.patience = Some(now + STUCK);
                slot.fail(Failure::Timeout(timeout));
            }
            stuck |= !slot.got_end && slot.patience.is_some_and(|at| at <= now);
        }
        stuck
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
                Closed::Gone | Closed::Stuck => Failure::WorkerGone,
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

    pub(crate) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(crate) fn wake_uploader(&mut self) {
        if let Some(waker) = self.uploader.take() {
            waker.wake();
        }
    }
}
