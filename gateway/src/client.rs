//! A client's socket as hyper uses it, and its traffic counters: whether the client is connected, sends, and reads.
//!
//! Reads and writes only increment counters and read no clock. Once a second, [`Traffic::judge`] compares the counters
//! with their previous values, by [`crate::time_limits`]. So the time limits that protect the gateway from slow clients
//! cost a request nothing.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use hearth_manifest::GatewayLimits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::time_limits::{End, Observation, Phase, Progress};

/// A vectored write of at most this many bytes is copied into one buffer and written with a plain write. At this size,
/// the copy costs less than a vectored write.
const SMALL: usize = 1024;

/// Bytes that a connection may read before it yields to other connections. Without this limit, a client that floods the
/// gateway with tiny frames would occupy the thread.
const TURN: usize = 64 * 1024;

/// The traffic counters of one connection.
#[derive(Debug)]
pub struct Traffic {
    fd: Cell<Option<RawFd>>,
    http2: Cell<bool>,
    received: Cell<u64>,
    /// The value of `received` when the last request (or the handshake) ended. Bytes beyond it belong to the next head.
    received_before: Cell<u64>,
    /// Bytes that the client has read, as far as the gateway can see.
    taken: Cell<u64>,
    /// The socket accepted nothing of the last write.
    blocked: Cell<bool>,
    /// Number of response bodies that have bytes which the client has not read yet.
    untaken: Cell<u32>,
    /// The gateway did not read the whole body of the last request.
    unread: Cell<bool>,
    /// The gateway has closed its side. It reads and discards the client's bytes until the client closes its side.
    closing: Cell<bool>,
    requests: Cell<u32>,
    /// Counts requests, so that `waiting_socket` can distinguish one request from the next.
    begun: Cell<u32>,
    begun_before: Cell<u32>,
    ended_one: Cell<bool>,
    progress: Cell<Progress>,
    end: Cell<Option<End>>,
    task: RefCell<Option<Waker>>,
}

impl Traffic {
    /// Creates the counters of a connection that has just been accepted.
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
            progress: Cell::new(Progress::new(now)),
            end: Cell::new(None),
            task: RefCell::default(),
        })
    }

    /// Marks the connection as HTTP/2. Its client may send frames between requests, so bytes do not mean that a head
    /// has begun.
    pub fn speaks_http2(&self) {
        self.http2.set(true);
    }

    /// Records that the handshake is complete. The bytes received so far belong to no head.
    pub fn shook_hands(&self) {
        self.received_before.set(self.received.get());
    }

    /// Records that the gateway does not read the rest of a body that the client may still be sending.
    pub fn left_unread(&self) {
        self.unread.set(true);
    }

    /// Whether requests follow one another on the connection (HTTP/1.1), so that an unread body blocks the next
    /// request.
    pub fn is_in_order(&self) -> bool {
        !self.http2.get()
    }

    /// Whether the current request's body was left unread and blocks the next request.
    pub fn has_unread(&self) -> bool {
        self.unread.get() && self.is_in_order()
    }

    /// Whether a close must wait for the client. If received bytes are unread, the kernel resets the connection (RFC
    /// 9112, section 9.6), and the client loses the last response.
    fn must_linger(&self) -> bool {
        let head = self.requests.get() == 0 && self.received != self.received_before;
        !self.http2.get() && (self.unread.get() || head)
    }

    /// Records that a request has begun. The request ends when the returned value is dropped.
    pub fn begin(self: &Rc<Self>) -> Serving {
        self.requests.set(self.requests.get() + 1);
        self.begun.set(self.begun.get().wrapping_add(1));
        self.unread.set(false);
        Serving {
            traffic: Rc::clone(self),
            untaken: false,
        }
    }

    /// Compares the counters with the previous call. Returns why the connection must end, if it must.
    pub fn judge(&self, now: Instant, limits: &GatewayLimits) -> Option<End> {
        let seen = Observation {
            phase: match self.requests.get() {
                _ if self.closing.get() => Phase::Closing,
                0 if self.http2.get() || self.received == self.received_before => Phase::Idle,
                0 => Phase::Head,
                _ => Phase::Serving,
            },
            request_ended: self.ended_one.take(),
            bytes_read: self.taken.get(),
            has_unread_bytes: self.blocked.get() || self.untaken.get() > 0,
        };
        let (progress, end) = self.progress.get().observe(now, seen, limits);
        self.progress.set(progress);
        end
    }

    /// Returns the socket if the same HTTP/1.1 request has been in progress since the previous call. Then nothing else
    /// notices that the client has closed the connection: during a request, hyper reads only over HTTP/2.
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

    /// Returns why the connection must end, if it must. [`Traffic::end`] wakes the task that called this function.
    pub fn ended(&self, cx: &mut Context<'_>) -> Option<End> {
        let mut task = self.task.borrow_mut();
        if task.is_none() {
            *task = Some(cx.waker().clone());
        }
        self.end.get()
    }
}

/// A request in progress.
#[derive(Debug)]
pub struct Serving {
    traffic: Rc<Traffic>,
    untaken: bool,
}

impl Serving {
    /// Records that bytes of the response were handed to hyper. The client has not read them until hyper polls for
    /// more.
    pub fn handed_over(&mut self, len: usize) {
        if !std::mem::replace(&mut self.untaken, true) {
            let untaken = &self.traffic.untaken;
            untaken.set(untaken.get() + 1);
        }
        // Over HTTP/2, the socket also accepts frames that carry no body. So the bytes of bodies are counted here.
        if self.traffic.http2.get() {
            let taken = &self.traffic.taken;
            taken.set(taken.get() + len as u64);
        }
    }

    /// Records that hyper polls for more: the client has read the bytes before.
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
    /// Bytes read since the connection last yielded.
    turn: usize,
}

impl Client {
    /// Wraps a socket and counts its traffic.
    pub fn new(stream: TcpStream, traffic: Rc<Traffic>) -> Client {
        traffic.fd.set(Some(stream.as_raw_fd()));
        Client {
            stream,
            traffic,
            turn: 0,
        }
    }

    /// The wrapped socket.
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
            // `yield_now` resumes this task after the runtime has polled the sockets, not only after the tasks that are
            // ready now.
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
    use std::time::Duration;

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
