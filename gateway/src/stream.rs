//! The streams of one channel, and their states. The handles that wait for them are in [`crate::handle`].
//!
//! The number of a stream is in use until both directions are closed on the wire *and* its handle is dropped. Its lease
//! returns as soon as the worker has ended its direction, because the worker is available then.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_protocol::credit::Receipt;
use hearth_protocol::data::{CancelReason, Data, ErrorCode};
use hearth_protocol::frame::{FrameError, Kind};
use hearth_protocol::head::Pair;
use hearth_protocol::{Codec, Credit};
use http::HeaderMap;

use crate::failure::Failure;
use crate::head;
use crate::pool::Lease;

/// The head of a response, and its body if it arrived completely with the head.
#[derive(Debug)]
pub struct Answer {
    /// The head, with an empty body.
    pub head: http::response::Parts,
    /// The whole body, or its first bytes.
    pub first: Bytes,
    /// Whether the body is complete.
    pub end: bool,
}

/// The time of a request: when it arrived, and how long it may wait for the head of its response.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// When the request arrived.
    pub asked: Instant,
    /// The function's timeout.
    pub limit: Duration,
}

/// How long a worker may take to end a request that was given up, in addition to the request's timeout.
pub(crate) const STUCK: Duration = Duration::from_secs(5);

/// The number of a stream, from 1, as frames have it. Frames of the whole channel have the number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamId(NonZeroU32);

impl StreamId {
    fn new(number: u32) -> Option<StreamId> {
        NonZeroU32::new(number).map(StreamId)
    }

    fn from_index(index: usize) -> StreamId {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        StreamId(number.expect("a channel has fewer than 2^32 - 1 streams"))
    }

    /// As frames have it.
    pub(crate) fn get(self) -> u32 {
        self.0.get()
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// All streams of one channel.
#[derive(Debug)]
pub(crate) struct Streams {
    states: Vec<StreamState>,
    free: Vec<StreamId>,
    open_count: usize,
    credit: u32,
}

/// The gateway's direction of a stream, which carries the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// The body is not complete yet.
    Open,
    /// The body is complete, or the worker has ended both directions with an error.
    Ended,
    /// CANCEL has ended the direction. It is sent only once.
    Cancelled,
}

/// The worker's direction of a stream, which carries the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    /// The head has not arrived.
    Head,
    /// The head has arrived, even if the gateway no longer needs it.
    Body,
    /// The worker has ended the direction.
    Ended,
}

/// What the handle waits for first: the head of the response, or the reason why there is none.
#[derive(Debug)]
enum Outcome {
    /// Neither has arrived.
    Pending,
    /// The handle has not taken it yet.
    Ready(Result<Answer, Failure>),
    /// The handle has taken it.
    Taken,
}

/// The state of one stream.
#[derive(Debug)]
pub(crate) struct StreamState {
    /// Counts the uses of the stream's number, so that an uploader of an earlier request cannot write into another
    /// request's stream.
    epoch: u32,
    lease: Option<Lease>,
    /// When the head of the response must have arrived. Progress of the upload extends it.
    deadline: Instant,
    timeout: Duration,
    /// The request was given up, and the worker must have ended it by this time.
    stuck_at: Option<Instant>,
    /// Offset of the request's first byte in the channel's output.
    output_offset: u64,
    sending: Sending,
    receiving: Receiving,
    /// The stream's handle has not been dropped.
    has_handle: bool,
    outcome: Outcome,
    /// The bytes of the body after the head, and the trailers.
    pub(crate) body: VecDeque<Bytes>,
    pub(crate) trailers: Option<HeaderMap>,
    /// Why the body broke off.
    pub(crate) body_error: Option<Failure>,
    pub(crate) receive_credit: Receipt,
    pub(crate) send_credit: Credit,
    pub(crate) reader: Option<Waker>,
    pub(crate) uploader: Option<Waker>,
}

/// The effects of one read that are applied after all its frames have been processed.
#[derive(Default)]
pub(crate) struct Booked {
    /// Leases of streams that the worker has ended.
    pub(crate) ended: Vec<Lease>,
    /// Wakers of the tasks that wait for what has arrived.
    pub(crate) wakers: Vec<Waker>,
}

/// Why a channel ended.
#[derive(Clone, Debug)]
pub(crate) enum Closed {
    /// The worker closed the connection or died.
    Gone,
    /// The worker broke the rules of the protocol.
    Protocol(String),
    /// The worker reported that the gateway broke the rules of the protocol.
    Peer(String),
    /// The worker has not ended a stream that the gateway gave up.
    Stuck,
}

impl Closed {
    pub(crate) fn protocol(error: FrameError) -> Closed {
        Closed::Protocol(error.to_string())
    }
}

impl Streams {
    pub(crate) fn new(credit: u32) -> Streams {
        Streams {
            states: Vec::new(),
            free: Vec::new(),
            open_count: 0,
            credit,
        }
    }

    /// Whether the worker has no requests on this channel.
    pub(crate) fn is_idle(&self) -> bool {
        self.open_count == 0
    }

    pub(crate) fn epoch(&self, stream: StreamId) -> u32 {
        self.states[stream.index()].epoch
    }

    /// The state of a stream of this channel.
    pub(crate) fn state(&mut self, stream: StreamId) -> &mut StreamState {
        &mut self.states[stream.index()]
    }

    /// Takes a free number for a request.
    pub(crate) fn open(
        &mut self,
        lease: Lease,
        time: Time,
        sent_end: bool,
        output_offset: u64,
    ) -> StreamId {
        self.open_count += 1;
        let state = |epoch| StreamState {
            epoch,
            lease: Some(lease),
            deadline: time.asked + time.limit,
            timeout: time.limit,
            stuck_at: None,
            output_offset,
            sending: if sent_end {
                Sending::Ended
            } else {
                Sending::Open
            },
            receiving: Receiving::Head,
            has_handle: true,
            outcome: Outcome::Pending,
            body: VecDeque::new(),
            trailers: None,
            body_error: None,
            receive_credit: Receipt::new(self.credit),
            send_credit: Credit::new(self.credit),
            reader: None,
            uploader: None,
        };
        if let Some(stream) = self.free.pop() {
            let reused = &mut self.states[stream.index()];
            *reused = state(reused.epoch.wrapping_add(1));
            stream
        } else {
            self.states.push(state(0));
            StreamId::from_index(self.states.len() - 1)
        }
    }

    /// Releases a stream whose request could not be encoded.
    pub(crate) fn discard(&mut self, stream: StreamId) {
        let state = self.state(stream);
        state.lease = None;
        state.end_sending();
        state.receiving = Receiving::Ended;
        state.has_handle = false;
        self.open_count -= 1;
        self.free.push(stream);
    }

    /// Processes one message of the worker. Adds released leases and wakers to `booked`, and returns the message to
    /// send in reply.
    pub(crate) fn receive(
        &mut self,
        message: Data<'_>,
        codec: Codec,
        booked: &mut Booked,
    ) -> Result<Option<Data<'static>>, Closed> {
        let broken = |kind: Kind, stream: u32, what: &str| {
            Err(Closed::Protocol(format!(
                "{} frame on stream {stream}: {what}",
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
                let Some((id, state)) = self.unfinished(stream) else {
                    return broken(Kind::Response, stream, "no request is open on it");
                };
                if state.receiving != Receiving::Head {
                    return broken(Kind::Response, stream, "a second response");
                }
                state.receiving = Receiving::Body;
                if let Some(lease) = state.lease.as_mut().filter(|_| !end) {
                    lease.streams();
                }
                // The gateway may have given up (timeout, body too large) before the worker learned of it. A head that
                // arrives then is ignored, and breaks no rule.
                if matches!(state.outcome, Outcome::Pending) {
                    let answer = head::decode(codec, head).map(|head| Answer {
                        head,
                        first: Bytes::copy_from_slice(body),
                        end,
                    });
                    state.outcome = Outcome::Ready(answer.map_err(Failure::BadAnswer));
                }
                booked.wakers.extend(state.reader.take());
                self.end_receiving_if(id, end, &mut booked.ended);
            }
            Data::Data { stream, bytes, end } => {
                let Some((id, state)) = self.unfinished(stream) else {
                    return broken(Kind::Data, stream, "the stream is not open");
                };
                if state.receiving == Receiving::Head {
                    return broken(Kind::Data, stream, "a body before the head");
                }
                if !state.receive_credit.arrived(bytes.len()) {
                    return broken(Kind::Data, stream, "more bytes than the credit allows");
                }
                if state.has_handle && !bytes.is_empty() {
                    state.body.push_back(Bytes::copy_from_slice(bytes));
                }
                booked.wakers.extend(state.reader.take());
                self.end_receiving_if(id, end, &mut booked.ended);
            }
            Data::Trailers { stream, fields } => {
                let Some((id, state)) = self
                    .unfinished(stream)
                    .filter(|(_, state)| state.receiving == Receiving::Body)
                else {
                    return broken(Kind::Trailers, stream, "trailers before the head");
                };
                let pairs: Vec<Pair<'_>> = codec
                    .decode(fields)
                    .map_err(|error| Closed::Protocol(error.to_string()))?;
                match head::header_map(&pairs) {
                    Ok(trailers) => state.trailers = Some(trailers),
                    Err(what) => state.body_error = Some(Failure::BadAnswer(what)),
                }
                booked.wakers.extend(state.reader.take());
                self.end_receiving_if(id, true, &mut booked.ended);
            }
            Data::Window { stream, credit } => {
                // After the gateway has ended its direction, the credit has no use.
                if let Some((_, state)) = self.unfinished(stream) {
                    if state.send_credit.give(credit).is_err() {
                        return broken(Kind::Window, stream, "credit beyond 4 GiB");
                    }
                    state.wake_uploader();
                }
            }
            Data::Error {
                stream,
                code,
                retry_safe,
                reason,
            } => {
                let Some((id, state)) = self.unfinished(stream) else {
                    return broken(Kind::Error, stream, "the stream is not open");
                };
                let failure = match (retry_safe, code) {
                    (true, _) => Failure::Refused(reason.to_owned()),
                    (false, ErrorCode::Protocol) => Failure::Protocol(reason.to_owned()),
                    (false, _) => Failure::Worker(reason.to_owned()),
                };
                state.fail(failure);
                state.end_sending();
                self.end_receiving_if(id, true, &mut booked.ended);
            }
            Data::Goaway { not_started } => {
                for stream in not_started.iter() {
                    let Some((id, state)) = self
                        .unfinished(stream)
                        .filter(|(_, state)| state.receiving == Receiving::Head)
                    else {
                        return broken(Kind::Goaway, stream, "no request waits on it");
                    };
                    state.fail(Failure::Refused("it is stopping".to_owned()));
                    state.end_sending();
                    self.end_receiving_if(id, true, &mut booked.ended);
                }
            }
            Data::Message { stream, .. } => {
                return broken(Kind::Message, stream, "it carries no WebSocket messages");
            }
            Data::Unknown { stream: 0, .. } => {}
            Data::Unknown { stream, .. } => {
                let Some((_, state)) = self.unfinished(stream) else {
                    return broken(Kind::Unknown(0), stream, "the stream is not open");
                };
                state.fail(Failure::Protocol("a frame of an unknown kind".to_owned()));
                let reason = CancelReason::BodyFailed;
                return Ok(state.cancel().then_some(Data::Cancel { stream, reason }));
            }
            Data::Request { stream, .. } => {
                return broken(Kind::Request, stream, "only gateways send it");
            }
            Data::Cancel { stream, .. } => {
                return broken(Kind::Cancel, stream, "only gateways send it");
            }
        }
        Ok(StreamId::new(stream_of(&message)).and_then(|id| self.cancel_rest_of_request(id)))
    }

    /// Ends the gateway's direction if the response is complete and the request's body is not: the worker does not need
    /// the rest.
    fn cancel_rest_of_request(&mut self, stream: StreamId) -> Option<Data<'static>> {
        let state = self.states.get_mut(stream.index())?;
        if state.receiving != Receiving::Ended || state.sending != Sending::Open {
            return None;
        }
        state.cancel();
        state.wake_uploader();
        self.free_if_done(stream);
        Some(Data::Cancel {
            stream: stream.get(),
            reason: CancelReason::Answered,
        })
    }

    fn end_receiving_if(&mut self, stream: StreamId, end: bool, ended: &mut Vec<Lease>) {
        if !end {
            return;
        }
        let state = self.state(stream);
        state.receiving = Receiving::Ended;
        ended.extend(state.lease.take());
        self.open_count -= 1;
        self.free_if_done(stream);
    }

    pub(crate) fn free_if_done(&mut self, stream: StreamId) {
        let state = self.state(stream);
        let is_closed = state.sending != Sending::Open && state.receiving == Receiving::Ended;
        if is_closed && !state.has_handle {
            state.outcome = Outcome::Taken;
            state.body = VecDeque::new();
            self.free.push(stream);
        }
    }

    /// The stream of a frame, if the worker has not ended its direction. Streams whose number is free are excluded too,
    /// because both of their directions have ended.
    fn unfinished(&mut self, stream: u32) -> Option<(StreamId, &mut StreamState)> {
        let id = StreamId::new(stream)?;
        let state = self.states.get_mut(id.index())?;
        state.is_receiving().then_some((id, state))
    }

    /// Fails every stream whose time is over. Returns whether the worker is stuck on a stream.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let mut is_stuck = false;
        for state in self.states.iter_mut().filter(|one| one.is_receiving()) {
            if matches!(state.outcome, Outcome::Pending) && state.deadline <= now {
                state.stuck_at = Some(now + STUCK);
                state.fail(Failure::Timeout(state.timeout));
            }
            is_stuck |= state.stuck_at.is_some_and(|at| at <= now);
        }
        is_stuck
    }

    /// Fails every stream without a complete response, because the channel has closed. Returns their leases.
    pub(crate) fn fail_all(&mut self, written: u64, why: &Closed) -> Vec<Lease> {
        let mut leases = Vec::new();
        for index in 0..self.states.len() {
            let state = &mut self.states[index];
            if !state.is_receiving() {
                continue;
            }
            state.fail(match why {
                _ if state.output_offset >= written => Failure::NotSent,
                Closed::Gone | Closed::Stuck => Failure::WorkerGone,
                Closed::Protocol(what) => Failure::Protocol(what.clone()),
                Closed::Peer(what) => {
                    Failure::Protocol(format!("it closed the connection: {what}"))
                }
            });
            state.end_sending();
            self.end_receiving_if(StreamId::from_index(index), true, &mut leases);
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

impl StreamState {
    /// Whether the worker has not ended its direction.
    pub(crate) fn is_receiving(&self) -> bool {
        self.receiving != Receiving::Ended
    }

    /// Whether an uploader that was created for the use `epoch` may send more of the body.
    pub(crate) fn accepts_body(&self, epoch: u32) -> bool {
        self.epoch == epoch && self.sending == Sending::Open && self.has_handle
    }

    /// Ends the gateway's direction, if it is open.
    pub(crate) fn end_sending(&mut self) {
        if self.sending == Sending::Open {
            self.sending = Sending::Ended;
        }
    }

    /// Ends the gateway's direction with a CANCEL. Returns whether the CANCEL must be sent now.
    fn cancel(&mut self) -> bool {
        let before = std::mem::replace(&mut self.sending, Sending::Cancelled);
        before != Sending::Cancelled
    }

    /// Gives the request up: from now on, the worker has the request's timeout and [`STUCK`] to end its direction. The
    /// stream and the lease stay in use until then. Returns whether a CANCEL must be sent now.
    pub(crate) fn give_up(&mut self) -> bool {
        let until = Instant::now() + self.timeout + STUCK;
        self.stuck_at = self.stuck_at.or(Some(until));
        self.cancel()
    }

    /// Records that the handle was dropped. Returns whether a CANCEL must be sent now.
    pub(crate) fn drop_handle(&mut self) -> bool {
        self.has_handle = false;
        self.body = VecDeque::new();
        self.wake_uploader();
        self.is_receiving() && self.give_up()
    }

    /// Restarts the timeout of the request, because its body has made progress.
    pub(crate) fn extend_deadline(&mut self) {
        self.deadline = Instant::now() + self.timeout;
    }

    /// Takes the head of the response, or the reason why there is none, once it has arrived.
    pub(crate) fn take_outcome(&mut self) -> Option<Result<Answer, Failure>> {
        match std::mem::replace(&mut self.outcome, Outcome::Taken) {
            Outcome::Ready(outcome) => Some(outcome),
            other => {
                self.outcome = other;
                None
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        if matches!(self.outcome, Outcome::Pending) {
            self.outcome = Outcome::Ready(Err(failure));
        } else {
            self.body_error = Some(failure);
        }
        self.wake_reader();
        self.wake_uploader();
    }

    /// Fails the stream because of the request's body. The failure replaces a head that the handle has not taken yet.
    pub(crate) fn fail_request(&mut self, failure: Failure) {
        if matches!(self.outcome, Outcome::Taken) {
            self.body_error = Some(failure);
        } else {
            self.outcome = Outcome::Ready(Err(failure));
        }
        self.wake_reader();
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
