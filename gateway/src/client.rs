//! A client's socket as hyper uses it, and what is watched about it: whether the client is still
//! there, says something, and takes what it is sent.
//!
//! Reads and writes only count; nothing here asks for the time. Once a second, [`Traffic::judge`]
//! compares the counters with what it saw before. So a request pays nothing for the limits on time
//! that protect everybody from its client.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use hearth_manifest::GatewayLimits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that a client must take, or send of a body it has announced, in each `stall`: 240 a second,
/// less than any line that is still in use, more than those who only want to hold a connection like
/// to spend.
pub fn pace(stall: Duration) -> u64 {
    240 * stall.as_secs()
}

/// Answers up to this size are put together for one plain write, which costs less than a gathering
/// one saves in copying.
const SMALL: usize = 1024;

/// After so many bytes a connection lets the others have their turn: a flood of tiny frames is taken
/// in as fast as it comes, and would keep the thread for itself.
const TURN: usize = 64 * 1024;

/// Why a connection is ended from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing was asked for `idle_timeout`.
    Idle,
    /// The head of a request took longer than `header_timeout`.
    SlowHead,
    /// The client did not take what it was sent.
    SlowReader,
    /// The client did not stop to send what nobody reads.
    Deaf,
    /// The client closed its side while its request was being served.
    Gone,
}

/// What is counted about a connection.
#[derive(Debug)]
pub struct Traffic {
    fd: Cell<Option<RawFd>>,
    http2: Cell<bool>,
    received: Cell<u64>,
    /// What had been received when the last request ended: more than that is the next one's head.
    received_before: Cell<u64>,
    /// Bytes that the client has taken.
    taken: Cell<u64>,
    /// The last write found no room.
    blocked: Cell<bool>,
    /// Bodies that hold bytes the client has not taken yet.
    untaken: Cell<u32>,
    /// A body was left unread.
    unread: Cell<bool>,
    /// Our side is closed; theirs is read until they see it.
    closing: Cell<bool>,
    requests: Cell<u32>,
    /// Counts requests, to tell one from the next.
    begun: Cell<u32>,
    begun_before: Cell<u32>,
    ended_one: Cell<bool>,
    seen: Cell<Seen>,
    end: Cell<Option<End>>,
    task: RefCell<Option<Waker>>,
}

/// What was seen at the last look.
#[derive(Clone, Copy, Debug)]
struct Seen {
    phase: Phase,
    /// Since when the phase lasts.
    since: Instant,
    /// Since when the client owes us its taking of bytes, and how many it had taken then.
    stuck: Option<(Instant, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Serving,
    Closing,
}

impl Traffic {
    /// Of a connection that was just accepted.
    pub fn new(now: Instant) -> Rc<Traffic> {
        Rc::new(Traffic {
            fd: Cell::new(None),
            http2: Cell::new(false),
            received: Cell::new(0),
            received_before: Cell::new(0),
            taken: Cell::new(0),
            blocked: Cell::new(false),
            untaken: Cell::new(0),
            unread: Cell::new(false),
            closing: Cell::new(false),
            requests: Cell::new(0),
            begun: Cell::new(0),
            begun_before: Cell::new(0),
            ended_one: Cell::new(false),
            seen: Cell::new(Seen {
                phase: Phase::Idle,
                since: now,
                stuck: None,
            }),
            end: Cell::new(None),
            task: RefCell::default(),
        })
    }

    /// The client speaks HTTP/2: between requests it may well send frames of other kinds.
    pub fn speaks_http2(&self) {
        self.http2.set(true);
    }

    /// The handshake is over: what came until now is no head.
    pub fn shook_hands(&self) {
        self.received_before.set(self.received.get());
    }

    /// A body that the client may still be sending is wanted by nobody.
    pub fn left_unread(&self) {
        self.unread.set(true);
    }

    /// Whether what a client sends on one stream stands in the way of its next request.
    pub fn is_in_order(&self) -> bool {
        !self.http2.get()
    }

    /// Whether a body has just been left so, and stands before the next request.
    pub fn has_unread(&self) -> bool {
        self.unread.get() && self.is_in_order()
    }

    /// Whether a close must wait for the client: what came and was not read would make the kernel
    /// reset the connection (RFC 9112, section 9.6), and the client lose our last answer.
    fn must_linger(&self) -> bool {
        let head = self.requests.get() == 0 && self.received != self.received_before;
        !self.http2.get() && (self.unread.get() || head)
    }

    /// A request has begun; it ends when what is returned is dropped.
    pub fn begin(self: &Rc<Self>) -> Serving {
        self.requests.set(self.requests.get() + 1);
        self.begun.set(self.begun.get().wrapping_add(1));
        self.unread.set(false);
        Serving {
            traffic: Rc::clone(self),
            untaken: false,
        }
    }

    /// Looks at the counters; says why the connection must end, if it must.
    pub fn judge(&self, now: Instant, limits: &GatewayLimits) -> Option<End> {
        let mut seen = self.seen.get();
        let phase = match self.requests.get() {
            _ if self.closing.get() => Phase::Closing,
            0 if self.http2.get() || self.received == self.received_before => Phase::Idle,
            0 => Phase::Head,
            _ => Phase::Serving,
        };
        if self.ended_one.take() || phase != seen.phase {
            seen.phase = phase;
            seen.since = now;
        }
        let taken = self.taken.get();
        let owes = self.blocked.get() || self.untaken.get() > 0;
        seen.stuck = match seen.stuck {
            _ if !owes => None,
            Some((_, before)) if taken - before >= pace(limits.stall_timeout) => Some((now, taken)),
            Some(stuck) => Some(stuck),
            None => Some((now, taken)),
        };
        self.seen.set(seen);
        let lasted = now.saturating_duration_since(seen.since);
        match (phase, seen.stuck) {
            (_, Some((since, _)))
                if now.saturating_duration_since(since) >= limits.stall_timeout =>
            {
                Some(End::SlowReader)
            }
            (Phase::Idle, _) if lasted >= limits.idle_timeout => Some(End::Idle),
            (Phase::Head, _) if lasted >= limits.header_timeout => Some(End::SlowHead),
            (Phase::Closing, _) if lasted >= limits.stall_timeout => Some(End::Deaf),
            _ => None,
        }
    }

    /// The socket, if the same request has been under way since the last time this was asked, and
    /// nobody would notice that the client is gone: hyper reads on only over HTTP/2.
    pub fn waiting_socket(&self) -> Option<RawFd> {
        let same = self.begun_before.replace(self.begun.get()) == self.begun.get();
        let waiting = same && self.requests.get() > 0 && !self.http2.get();
        self.fd.get().filter(|_| waiting)
    }

    /// Ends the connection.
    pub fn end(&self, why: End) {
        self.end.set(Some(why));
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }

    /// Whether the connection must end. Wakes the task that asks when it must.
    pub fn ended(&self, cx: &mut Context<'_>) -> Option<End> {
        let mut task = self.task.borrow_mut();
        if task.is_none() {
            *task = Some(cx.waker().clone());
        }
        self.end.get()
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Serving {
    traffic: Rc<Traffic>,
    untaken: bool,
}

impl Serving {
    /// Bytes of the answer were handed over: until somebody asks for more, they have not been taken.
    pub fn handed_over(&mut self, len: usize) {
        if !std::mem::replace(&mut self.untaken, true) {
            let untaken = &self.traffic.untaken;
            untaken.set(untaken.get() + 1);
        }
        // Over HTTP/2 the socket may take frames that say nothing about a body.
        if self.traffic.http2.get() {
            let taken = &self.traffic.taken;
            taken.set(taken.get() + len as u64);
        }
    }

    /// More is asked for.
    pub fn asked(&mut self) {
        if std::mem::take(&mut self.untaken) {
            let untaken = &self.traffic.untaken;
            untaken.set(untaken.get() - 1);
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.asked();
        let traffic = &self.traffic;
        traffic.requests.set(traffic.requests.get() - 1);
        traffic.received_before.set(traffic.received.get());
        traffic.ended_one.set(true);
    }
}

/// A client's socket.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    traffic: Rc<Traffic>,
    /// Bytes read in this turn.
    turn: usize,
}

impl Client {
    /// A socket whose traffic is counted.
    pub fn new(stream: TcpStream, traffic: Rc<Traffic>) -> Client {
        traffic.fd.set(Some(stream.as_raw_fd()));
        Client {
            stream,
            traffic,
            turn: 0,
        }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.traffic.blocked.set(result.is_pending());
        if let Poll::Ready(Ok(count)) = result
            && !self.traffic.http2.get()
        {
            let taken = &self.traffic.taken;
            taken.set(taken.get() + count as u64);
        }
        result
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.traffic.fd.set(None);
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turn >= TURN {
            self.turn = 0;
            // Not just behind those who are ready by now: behind a look at the sockets.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        let before = room.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, room);
        let count = room.filled().len() - before;
        self.turn += count;
        if result.is_pending() {
            self.turn = 0;
        }
        let received = &self.traffic.received;
        received.set(received.get() + count as u64);
        result
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut small = [0; SMALL];
        let mut len = 0;
        for piece in pieces {
            match small.get_mut(len..len + piece.len()) {
                Some(room) => room.copy_from_slice(piece),
                None => {
                    let result = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
                    return self.wrote(result);
                }
            }
            len += piece.len();
        }
        self.poll_write(cx, &small[..len])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if !self.traffic.closing.get() && !self.traffic.must_linger() {
            return Poll::Ready(Ok(()));
        }
        self.traffic.closing.set(true);
        loop {
            let mut thrown_away = [0; 4096];
            let mut room = ReadBuf::new(&mut thrown_away);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
            if room.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(traffic: &Traffic, now: Instant) -> Option<End> {
        let limits = GatewayLimits {
            header_bytes: 0,
            body_bytes: 0,
            connections: 0,
            queue: 0,
            idle_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
        };
        traffic.judge(now, &limits)
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn an_idle_connection_ends_and_each_request_begins_its_time_anew() {
        let start = Instant::now();
        let traffic = Traffic::new(start);
        assert_eq!(judge(&traffic, at(start, 59)), None);
        drop(traffic.begin());
        assert_eq!(judge(&traffic, at(start, 60)), None);
        assert_eq!(judge(&traffic, at(start, 119)), None);
        assert_eq!(judge(&traffic, at(start, 120)), Some(End::Idle));
    }

    #[test]
    fn a_head_has_less_time_from_its_first_byte_and_over_http2_bytes_are_no_head() {
        let start = Instant::now();
        for (http2, expect) in [(false, Some(End::SlowHead)), (true, None)] {
            let traffic = Traffic::new(start);
            traffic.http2.set(http2);
            assert_eq!(judge(&traffic, at(start, 10)), None);
            traffic.received.set(7);
            assert_eq!(judge(&traffic, at(start, 11)), None);
            traffic.received.set(8);
            assert_eq!(judge(&traffic, at(start, 25)), None);
            assert_eq!(judge(&traffic, at(start, 26)), expect);
        }
    }

    #[test]
    fn a_request_may_take_its_time() {
        let start = Instant::now();
        let traffic = Traffic::new(start);
        traffic.received.set(100);
        let _serving = traffic.begin();
        assert_eq!(judge(&traffic, at(start, 1)), None);
        assert_eq!(judge(&traffic, at(start, 3_600)), None);
    }

    #[test]
    fn who_takes_nothing_is_ended_and_who_takes_enough_is_not() {
        let start = Instant::now();
        for (step, expect) in [(7_200, None), (7_199, Some(End::SlowReader))] {
            let traffic = Traffic::new(start);
            let mut serving = traffic.begin();
            serving.handed_over(100_000);
            assert_eq!(judge(&traffic, at(start, 1)), None);
            traffic.taken.set(step);
            assert_eq!(judge(&traffic, at(start, 30)), None);
            assert_eq!(judge(&traffic, at(start, 31)), expect);
        }
    }

    #[test]
    fn a_silent_stream_owes_nothing() {
        let start = Instant::now();
        let traffic = Traffic::new(start);
        let mut serving = traffic.begin();
        serving.handed_over(10);
        assert_eq!(judge(&traffic, at(start, 1)), None);
        serving.asked();
        assert_eq!(judge(&traffic, at(start, 2)), None);
        assert_eq!(judge(&traffic, at(start, 3_000)), None);
    }

    #[test]
    fn a_close_waits_for_a_client_that_still_sends_but_not_for_ever() {
        let start = Instant::now();
        let traffic = Traffic::new(start);
        assert!(!traffic.must_linger());
        let serving = traffic.begin();
        traffic.received.set(100);
        drop(serving);
        assert!(!traffic.must_linger());
        traffic.left_unread();
        assert!(traffic.must_linger());
        traffic.closing.set(true);
        assert_eq!(judge(&traffic, at(start, 1)), None);
        assert_eq!(judge(&traffic, at(start, 30)), None);
        assert_eq!(judge(&traffic, at(start, 31)), Some(End::Deaf));
    }

    #[test]
    fn only_a_request_that_lasts_is_asked_after() {
        let traffic = Traffic::new(Instant::now());
        traffic.fd.set(Some(1));
        assert_eq!(traffic.waiting_socket(), None);
        let serving = traffic.begin();
        assert_eq!(traffic.waiting_socket(), None);
        assert_eq!(traffic.waiting_socket(), Some(1));
        drop(serving);
        assert_eq!(traffic.waiting_socket(), None);
        let _next = traffic.begin();
        assert_eq!(traffic.waiting_socket(), None);
    }
}
