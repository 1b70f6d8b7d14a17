//! The worker's side of the streams of one data socket. This module does no I/O: it applies messages and appends the
//! frames to send to a buffer, which the caller writes to the socket.

use std::io;
use std::sync::Arc;

use hearth_protocol::credit::Receipt;
use hearth_protocol::data::{Data, ErrorCode, encode_goaway};
use hearth_protocol::frame::{FrameError, Kind};
use hearth_protocol::head::Limits;
use hearth_protocol::{Credit, MAX_CHUNK};

/// Highest stream number that is accepted. It is far above what `concurrency` and prefetch need, so only a faulty
/// gateway exceeds it.
const MAX_SLOT: u32 = 4096;

/// A request that has arrived. Its head is still encoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) stream: u32,
    pub(crate) head: Arc<[u8]>,
    pub(crate) body: Vec<u8>,
    /// Whether `body` is the complete body.
    pub(crate) end: bool,
}

/// The client or the gateway has given up the stream, so it can no longer be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl From<Gone> for io::Error {
    fn from(_: Gone) -> io::Error {
        io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "the client or the gateway gave up",
        )
    }
}

/// An error that ends the whole data socket.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{kind} frame on slot {stream}: {what}")]
    Rule {
        kind: &'static str,
        stream: u32,
        what: &'static str,
    },
    #[error("the gateway ended the connection: {0}")]
    Peer(String),
}

impl Broken {
    /// Appends an ERROR frame that reports to the gateway why the worker ends the connection.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let reason = self.to_string();
        let error = Data::Error {
            stream: 0,
            code: ErrorCode::Protocol,
            retry_safe: false,
            reason: &reason,
        };
        error.encode(out);
    }
}

/// The open streams of one socket.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The stream with number n is at index n - 1.
    open: Vec<Option<Slot>>,
    credit: u32,
}

#[derive(Debug)]
struct Slot {
    /// Body bytes that have arrived. The handler has read those before `read_at`.
    body: Vec<u8>,
    read_at: usize,
    /// Whether the gateway has ended its direction.
    ended: bool,
    /// Whether the gateway has cancelled the request or reported an error.
    cancelled: bool,
    /// Whether the worker has ended its direction. Body bytes that arrive after that are discarded.
    answered: bool,
    /// Whether the worker has ended both directions, with an error or by returning the request. The gateway may use the
    /// stream again; body bytes that it sent before it learned of the end are discarded.
    aborted: bool,
    receipt: Receipt,
    send: Credit,
}

impl Slot {
    /// Number of bytes that have arrived and have not been read.
    fn unread(&self) -> usize {
        self.body.len() - self.read_at
    }

    /// Whether the gateway has ended the body. Fails if the stream is cancelled.
    fn has_ended(&self) -> Result<bool, Gone> {
        match self.cancelled {
            true => Err(Gone),
            false => Ok(self.ended),
        }
    }

    /// Returns credit to the gateway for bytes that have been read.
    fn consumed(&mut self, stream: u32, count: usize, out: &mut Vec<u8>) {
        if let Some(credit) = self.receipt.consumed(count)
            && !self.ended
        {
            Data::Window { stream, credit }.encode(out);
        }
    }
}

impl Slots {
    pub(crate) fn new(limits: Limits) -> Slots {
        Slots {
            open: Vec::new(),
            credit: limits.credit,
        }
    }

    /// Applies one message of the gateway. Returns the request if the message begins one.
    pub(crate) fn receive(
        &mut self,
        message: Data<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Incoming>, Broken> {
        let broken = |kind: Kind, stream, what| {
            Err(Broken::Rule {
                kind: kind.name(),
                stream,
                what,
            })
        };
        match message {
            Data::Request {
                stream,
                head,
                body,
                end,
            } => {
                if stream > MAX_SLOT {
                    return broken(Kind::Request, stream, "no such slot");
                }
                let slot = Slot {
                    body: Vec::new(),
                    read_at: 0,
                    ended: end,
                    cancelled: false,
                    answered: false,
                    aborted: false,
                    receipt: Receipt::new(self.credit),
                    send: Credit::new(self.credit),
                };
                let place = stream as usize - 1;
                if place >= self.open.len() {
                    self.open.resize_with(place + 1, || None);
                }
                let before = self.open[place].replace(slot);
                if before.is_some_and(|slot| !slot.aborted) {
                    return broken(Kind::Request, stream, "slot is in use");
                }
                Ok(Some(Incoming {
                    stream,
                    head: head.into(),
                    body: body.to_vec(),
                    end,
                }))
            }
            Data::Data { stream, bytes, end } => {
                let Some(slot) = self.slot(stream) else {
                    return broken(Kind::Data, stream, "slot is not open");
                };
                if slot.ended {
                    return broken(Kind::Data, stream, "after the end");
                }
                if !slot.receipt.arrived(bytes.len()) {
                    return broken(Kind::Data, stream, "more than there was credit for");
                }
                if !slot.answered {
                    slot.body.extend_from_slice(bytes);
                }
                self.ended_if(stream, end);
                Ok(None)
            }
            Data::Trailers { stream, .. } => {
                // The SDK does not read trailers, but they end the body.
                self.ended_if(stream, true);
                Ok(None)
            }
            Data::Window { stream, credit } => {
                // Credit may still arrive for a stream that this worker has just ended.
                if let Some(slot) = self.slot(stream)
                    && slot.send.give(credit).is_err()
                {
                    return broken(Kind::Window, stream, "credit beyond 4 GiB");
                }
                Ok(None)
            }
            Data::Cancel { stream, .. } => {
                if let Some(slot) = self.slot(stream) {
                    slot.cancelled = true;
                }
                self.ended_if(stream, true);
                Ok(None)
            }
            Data::Error {
                stream: 0, reason, ..
            } => Err(Broken::Peer(reason.to_owned())),
            Data::Error { stream, .. } => {
                if let Some(slot) = self.slot(stream) {
                    slot.cancelled = true;
                }
                self.ended_if(stream, true);
                Ok(None)
            }
            Data::Unknown { stream: 0, .. } => Ok(None),
            Data::Unknown { stream, .. } => {
                self.refuse(
                    stream,
                    ErrorCode::Unsupported,
                    "frame of an unknown kind",
                    out,
                );
                Ok(None)
            }
            Data::Message { stream, .. } => {
                self.refuse(
                    stream,
                    ErrorCode::Unsupported,
                    "this worker speaks no WebSocket",
                    out,
                );
                Ok(None)
            }
            Data::Response { stream, .. } => broken(Kind::Response, stream, "workers send these"),
            Data::Goaway { .. } => broken(Kind::Goaway, 0, "workers send these"),
        }
    }

    fn slot(&mut self, stream: u32) -> Option<&mut Slot> {
        let place = (stream as usize).checked_sub(1)?;
        self.open.get_mut(place)?.as_mut()
    }

    fn free(&mut self, stream: u32) {
        let place = (stream as usize).checked_sub(1);
        if let Some(slot) = place.and_then(|place| self.open.get_mut(place)) {
            *slot = None;
        }
    }

    fn ended_if(&mut self, stream: u32, end: bool) {
        if let Some(slot) = self.slot(stream) {
            slot.ended |= end;
            if slot.ended && slot.answered {
                self.free(stream);
            }
        }
    }

    /// Whether the stream is cancelled or not open.
    pub(crate) fn is_cancelled(&self, stream: u32) -> bool {
        let place = (stream as usize)
            .checked_sub(1)
            .and_then(|place| self.open.get(place));
        place
            .and_then(Option::as_ref)
            .is_none_or(|slot| slot.cancelled)
    }

    /// Copies body bytes that have arrived to `room` and returns their number. Returns `None` if the caller must wait
    /// for more, and 0 at the end of the body.
    pub(crate) fn read(
        &mut self,
        stream: u32,
        room: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, Gone> {
        let slot = self.slot(stream).ok_or(Gone)?;
        if slot.unread() == 0 {
            return Ok(slot.has_ended()?.then_some(0));
        }
        let count = slot.unread().min(room.len());
        room[..count].copy_from_slice(&slot.body[slot.read_at..slot.read_at + count]);
        slot.read_at += count;
        if slot.unread() == 0 {
            slot.body.clear();
            slot.read_at = 0;
        }
        slot.consumed(stream, count, out);
        Ok(Some(count))
    }

    /// Takes all body bytes that have arrived. Returns `None` if the caller must wait for more, and no bytes at the end
    /// of the body.
    #[cfg(feature = "async")]
    pub(crate) fn take(&mut self, stream: u32, out: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Gone> {
        let slot = self.slot(stream).ok_or(Gone)?;
        if slot.unread() == 0 {
            return Ok(slot.has_ended()?.then(Vec::new));
        }
        let bytes = std::mem::take(&mut slot.body).split_off(std::mem::take(&mut slot.read_at));
        slot.consumed(stream, bytes.len(), out);
        Ok(Some(bytes))
    }

    /// Sends as many of `bytes` as one chunk and the stream's credit allow, and returns their number. 0 means that the
    /// caller must wait for credit.
    pub(crate) fn write(
        &mut self,
        stream: u32,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, Gone> {
        let slot = self
            .slot(stream)
            .filter(|slot| !slot.cancelled)
            .ok_or(Gone)?;
        let count = bytes.len().min(MAX_CHUNK).min(slot.send.available());
        if count > 0 && slot.send.spend(count) {
            Data::Data {
                stream,
                bytes: &bytes[..count],
                end: false,
            }
            .encode(out);
        }
        Ok(count)
    }

    /// Ends the worker's direction after the last bytes of the body.
    pub(crate) fn finish(&mut self, stream: u32, out: &mut Vec<u8>) {
        if self.close(stream) {
            Data::Data {
                stream,
                bytes: b"",
                end: true,
            }
            .encode(out);
        }
    }

    /// Ends the worker's direction with an ERROR frame.
    pub(crate) fn refuse(&mut self, stream: u32, code: ErrorCode, reason: &str, out: &mut Vec<u8>) {
        if self.abort(stream) {
            Data::Error {
                stream,
                code,
                retry_safe: false,
                reason,
            }
            .encode(out);
        }
    }

    /// Records that a frame that ends the worker's direction has been appended. Returns `false` if the direction had
    /// ended before.
    pub(crate) fn close(&mut self, stream: u32) -> bool {
        let Some(slot) = self.slot(stream) else {
            return false;
        };
        let first = !slot.answered;
        slot.answered = true;
        slot.body = Vec::new();
        if slot.ended {
            self.free(stream);
        }
        first
    }

    /// Like [`Slots::close`], for a frame that ends both directions.
    fn abort(&mut self, stream: u32) -> bool {
        let first = self.close(stream);
        if let Some(slot) = self.slot(stream) {
            slot.aborted = true;
        }
        first
    }

    /// Closes the streams of requests that have not been started, and sends GOAWAY, which returns these requests to the
    /// gateway and announces that the worker takes no more.
    pub(crate) fn goaway(&mut self, not_started: &[u32], out: &mut Vec<u8>) {
        for stream in not_started {
            self.abort(*stream);
        }
        encode_goaway(out, not_started.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_protocol::data::CancelReason;

    fn slots() -> Slots {
        Slots::new(Limits {
            credit: 10,
            body_bytes: 100,
        })
    }

    fn open(slots: &mut Slots, stream: u32, end: bool) {
        let request = Data::Request {
            stream,
            head: b"h",
            body: b"",
            end,
        };
        assert!(slots.receive(request, &mut Vec::new()).unwrap().is_some());
    }

    fn data(stream: u32, bytes: &[u8], end: bool) -> Data<'_> {
        Data::Data { stream, bytes, end }
    }

    #[test]
    fn a_slot_is_free_again_once_both_ends_have_closed_it() {
        let (mut slots, mut out) = (slots(), Vec::new());
        open(&mut slots, 1, false);
        slots.finish(1, &mut out);
        assert_eq!(slots.receive(data(1, b"late", true), &mut out), Ok(None));
        open(&mut slots, 1, true);
        let again = Data::Request {
            stream: 1,
            head: b"h",
            body: b"",
            end: true,
        };
        assert!(matches!(
            slots.receive(again, &mut out),
            Err(Broken::Rule { .. })
        ));
    }

    #[test]
    fn a_stream_that_the_worker_aborted_serves_again_before_the_old_body_has_ended() {
        let (mut slots, mut out) = (slots(), Vec::new());
        for _ in 0..2 {
            open(&mut slots, 1, false);
            slots.refuse(1, ErrorCode::Internal, "broken", &mut out);
            // The gateway sent it before the error reached it.
            assert_eq!(slots.receive(data(1, b"late", false), &mut out), Ok(None));
        }
        open(&mut slots, 2, false);
        slots.goaway(&[2], &mut out);
        assert_eq!(slots.receive(data(2, b"late", false), &mut out), Ok(None));
        open(&mut slots, 2, true);
        // What arrives now belongs to the new request, which is complete.
        assert!(slots.receive(data(2, b"late", false), &mut out).is_err());
    }

    #[test]
    fn bodies_are_read_in_order_and_give_credit_back() {
        let (mut slots, mut out) = (slots(), Vec::new());
        open(&mut slots, 1, false);
        let mut room = [0; 4];
        assert_eq!(slots.read(1, &mut room, &mut out), Ok(None));
        slots.receive(data(1, b"abcdef", false), &mut out).unwrap();
        assert_eq!(slots.read(1, &mut room, &mut out), Ok(Some(4)));
        assert!(out.is_empty());
        assert_eq!(slots.read(1, &mut room, &mut out), Ok(Some(2)));
        let mut window = Vec::new();
        Data::Window {
            stream: 1,
            credit: 6,
        }
        .encode(&mut window);
        assert_eq!(out, window);
        slots.receive(data(1, b"", true), &mut out).unwrap();
        assert_eq!(slots.read(1, &mut room, &mut out), Ok(Some(0)));
    }

    #[test]
    fn more_than_the_credit_breaks_the_connection() {
        let (mut slots, mut out) = (slots(), Vec::new());
        open(&mut slots, 1, false);
        let error = slots
            .receive(data(1, &[0; 11], false), &mut out)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "DATA frame on slot 1: more than there was credit for"
        );
    }

    #[test]
    fn writes_stop_at_the_credit_and_go_on_with_a_window() {
        let (mut slots, mut out) = (slots(), Vec::new());
        open(&mut slots, 1, true);
        assert_eq!(slots.write(1, &[1; 15], &mut out), Ok(10));
        assert_eq!(slots.write(1, &[1; 5], &mut out), Ok(0));
        slots
            .receive(
                Data::Window {
                    stream: 1,
                    credit: 3,
                },
                &mut out,
            )
            .unwrap();
        assert_eq!(slots.write(1, &[1; 5], &mut out), Ok(3));
    }

    #[test]
    fn a_cancelled_stream_neither_reads_nor_writes_and_is_still_ended_by_us() {
        let (mut slots, mut out) = (slots(), Vec::new());
        open(&mut slots, 1, false);
        let cancel = Data::Cancel {
            stream: 1,
            reason: CancelReason::ClientGone,
        };
        slots.receive(cancel, &mut out).unwrap();
        assert!(slots.is_cancelled(1));
        assert_eq!(slots.read(1, &mut [0; 4], &mut out), Err(Gone));
        assert_eq!(slots.write(1, b"x", &mut out), Err(Gone));
        slots.refuse(1, ErrorCode::Cancelled, "cancelled", &mut out);
        assert!(!out.is_empty());
        open(&mut slots, 1, true);
    }

    #[test]
    fn an_unknown_kind_resets_its_stream_alone() {
        let (mut slots, mut out) = (slots(), Vec::new());
        open(&mut slots, 1, true);
        slots
            .receive(
                Data::Unknown {
                    stream: 0,
                    kind: 99,
                },
                &mut out,
            )
            .unwrap();
        assert!(out.is_empty());
        slots
            .receive(
                Data::Unknown {
                    stream: 1,
                    kind: 99,
                },
                &mut out,
            )
            .unwrap();
        assert!(!out.is_empty());
        open(&mut slots, 1, true);
    }
}
