//! One thread's data socket to one worker. It carries many streams, and each stream has its own handle.
//!
//! Requests append frames to one buffer and wake the writer only if that buffer was empty. The writer then writes the
//! whole buffer at once. The reader processes every frame of one read before it reads again. The states of the streams
//! are in [`crate::stream`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use hearth_protocol::data::{CancelReason, Data, ErrorCode, encode_head};
use hearth_protocol::frame::Kind;
use hearth_protocol::head::{Limits, RequestHead};
use hearth_protocol::{DATA_ROOM, FrameBuffer, MAX_DATA_LEN};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::pool::{Lease, Worker};
use crate::stream::{Booked, Closed, STUCK, StreamId, Streams, Time};

/// A thread's connection to one worker.
pub struct Channel {
    /// The worker at the other end.
    pub worker: Arc<Worker>,
    pub(crate) streams: RefCell<Streams>,
    socket: OwnedWriteHalf,
    out: RefCell<Out>,
    /// When the worker last changed from idle to busy, or last answered.
    busy_since: Cell<Instant>,
    /// The channel takes no new requests. It is closed when all requests in progress have ended.
    retired: Cell<bool>,
    lost: mpsc::UnboundedSender<Lost>,
}

/// A worker whose channel has ended, and the worker's fault, if it is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The worker.
    pub worker: u32,
    /// What the worker did wrong, as a predicate (`broke the protocol: ...`). Empty if the connection was only closed.
    pub why: String,
}

#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    /// How many of `bytes` have been written.
    start: usize,
    writer: Option<Waker>,
    /// Total bytes appended and total bytes written. The bytes between the two have not reached the worker.
    appended: u64,
    written: u64,
    closed: bool,
}

impl Channel {
    /// Takes over a connected socket and starts its reader and writer on this thread.
    pub fn start(
        worker: Arc<Worker>,
        socket: StdUnixStream,
        limits: Limits,
        lost: mpsc::UnboundedSender<Lost>,
    ) -> io::Result<Rc<Channel>> {
        socket.set_nonblocking(true)?;
        let (read, socket) = UnixStream::from_std(socket)?.into_split();
        let channel = Rc::new(Channel {
            worker,
            streams: RefCell::new(Streams::new(limits.credit)),
            socket,
            out: RefCell::default(),
            busy_since: Cell::new(Instant::now()),
            retired: Cell::new(false),
            lost,
        });
        tokio::task::spawn_local(read_all(Rc::clone(&channel), read));
        tokio::task::spawn_local(write_all(Rc::clone(&channel)));
        Ok(channel)
    }

    /// Whether the channel can still be used.
    pub fn is_open(&self) -> bool {
        !self.out.borrow().closed
    }

    /// Takes no new requests, and closes the gateway's direction of the socket when no request is in progress. The
    /// worker then knows that it has received everything.
    pub fn retire(&self) {
        self.retired.set(true);
        self.close_if_done();
    }

    fn close_if_done(&self) {
        if !self.retired.get() || !self.streams.borrow().is_idle() || self.has_unwritten() {
            return;
        }
        // If the shutdown fails, the socket is closed already.
        let _ = hearth_sys::unix::end_writing(self.socket.as_ref());
    }

    fn has_unwritten(&self) -> bool {
        !self.out.borrow().bytes.is_empty()
    }

    /// Opens a free stream with a request, as [`crate::handle::StreamHandle::send`] describes it. Returns the stream, and
    /// the count of its uses.
    pub(crate) fn open_stream(
        &self,
        lease: Lease,
        time: Time,
        head: &RequestHead<'_>,
        body: &[u8],
        end: bool,
    ) -> Result<(StreamId, u32), Failure> {
        if !self.is_open() || self.retired.get() {
            return Err(Failure::NotSent);
        }
        let mut streams = self.streams.borrow_mut();
        if streams.is_idle() {
            // A request that waited in the queue arrived long ago, but the worker was busy until its last response. So
            // the later of the two times counts.
            self.busy_since.set(self.busy_since.get().max(time.asked));
        }
        let position = self.out.borrow().appended;
        let stream = streams.open(lease, time, end, position);
        let mut encoded = Ok(());
        self.append(|out| {
            let head = |out: &mut Vec<u8>| head.encode(self.worker.codec, out);
            encoded = encode_head(out, Kind::Request, stream.get(), head, body, end);
        });
        if encoded.is_err() {
            streams.discard(stream);
            return Err(Failure::HeadTooLarge);
        }
        Ok((stream, streams.epoch(stream)))
    }

    /// Sends CANCEL on a stream.
    pub(crate) fn cancel(&self, stream: StreamId, reason: CancelReason) {
        let stream = stream.get();
        self.append(|out| Data::Cancel { stream, reason }.encode(out));
    }

    /// Fails every stream whose time is over, and closes the channel if the worker is stuck. Returns whether streams
    /// are open.
    pub(crate) fn expire(&self, now: Instant) -> bool {
        let mut streams = self.streams.borrow_mut();
        let stuck = streams.expire(now);
        let busy = !streams.is_idle();
        drop(streams);
        if stuck {
            self.close(&Closed::Stuck);
        }
        busy
    }

    /// Appends frames to the buffer and wakes the writer.
    pub(crate) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = self.out.borrow_mut();
        if out.closed {
            return;
        }
        let before = out.bytes.len();
        write(&mut out.bytes);
        out.appended += (out.bytes.len() - before) as u64;
        if before == 0
            && !out.bytes.is_empty()
            && let Some(writer) = out.writer.take()
        {
            writer.wake();
        }
    }

    /// Writes the buffer until the socket accepts no more bytes.
    fn flush(&self) -> Flushed {
        let mut out = self.out.borrow_mut();
        while out.start < out.bytes.len() {
            match self.socket.try_write(&out.bytes[out.start..]) {
                Ok(count) => {
                    out.start += count;
                    out.written += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flushed::Blocked,
                Err(_) => return Flushed::Broken,
            }
        }
        out.bytes.clear();
        out.start = 0;
        // A buffer that a burst has made large is freed.
        if out.bytes.capacity() > 4 * MAX_DATA_LEN as usize {
            out.bytes = Vec::new();
        }
        Flushed::All
    }

    /// Closes the channel. Every stream on it fails with `why`.
    fn close(&self, why: &Closed) {
        let written = {
            let mut out = self.out.borrow_mut();
            if out.closed {
                return;
            }
            out.closed = true;
            out.bytes = Vec::new();
            out.start = 0;
            if let Some(writer) = out.writer.take() {
                writer.wake();
            }
            out.written
        };
        self.worker.leave();
        let why_lost = match why {
            Closed::Gone => String::new(),
            Closed::Protocol(what) => format!("broke the protocol: {what}"),
            Closed::Peer(what) => format!("broke the protocol: it closed the connection: {what}"),
            Closed::Stuck => format!(
                "is stuck: {} s after a request was given up it has not ended it",
                STUCK.as_secs()
            ),
        };
        let _ = self.lost.send(Lost {
            worker: self.worker.id,
            why: why_lost,
        });
        let leases = self.streams.borrow_mut().fail_all(written, why);
        drop(leases);
    }

    /// Processes all complete frames in `buffer`.
    fn receive(&self, buffer: &mut FrameBuffer, booked: &mut Booked) -> Result<(), Closed> {
        let mut answers = 0;
        while let Some(frame) = buffer.next_frame().map_err(Closed::protocol)? {
            let message = Data::parse(&frame).map_err(Closed::protocol)?;
            if matches!(message, Data::Response { .. } | Data::Error { .. }) {
                answers += 1;
            }
            if matches!(message, Data::Goaway { .. }) {
                self.worker.leave();
            }
            if let Data::Error {
                stream: 0, reason, ..
            } = message
            {
                return Err(Closed::Peer(reason.to_owned()));
            }
            let mut streams = self.streams.borrow_mut();
            let reply = streams.receive(message, self.worker.codec, booked)?;
            drop(streams);
            if let Some(reply) = reply {
                self.append(|out| reply.encode(out));
            }
        }
        if answers > 0 {
            let now = Instant::now();
            let span = now - self.busy_since.replace(now);
            self.worker.served(answers, span, now);
        }
        Ok(())
    }
}

enum Flushed {
    All,
    Blocked,
    Broken,
}

async fn read_all(channel: Rc<Channel>, mut socket: OwnedReadHalf) {
    let mut buffer = FrameBuffer::new(MAX_DATA_LEN, DATA_ROOM);
    let mut booked = Booked::default();
    let why = loop {
        match socket.read(buffer.room()).await {
            Ok(count) if count > 0 && channel.is_open() => buffer.filled(count),
            Ok(_) | Err(_) => break Closed::Gone,
        }
        let received = channel.receive(&mut buffer, &mut booked);
        let many = booked.ended.len() > 1;
        booked.ended.clear();
        if many {
            // Dropping the leases has passed them to queued requests. These requests are sent before the responses are
            // handed to their clients, so that the worker can start its next batch while this thread writes the
            // responses.
            step_back().await;
            channel.flush();
        }
        booked.wakers.drain(..).for_each(Waker::wake);
        if let Err(why) = received {
            break why;
        }
        channel.close_if_done();
    };
    if let Closed::Protocol(reason) = &why {
        channel.append(|out| {
            let code = ErrorCode::Protocol;
            Data::Error {
                stream: 0,
                code,
                retry_safe: false,
                reason,
            }
            .encode(out);
        });
        channel.flush();
    }
    channel.close(&why);
}

/// Lets the tasks that are ready now run first, without polling the sockets in between.
async fn step_back() {
    let mut stepped = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut stepped, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn write_all(channel: Rc<Channel>) {
    loop {
        let open = poll_fn(|cx| {
            let mut out = channel.out.borrow_mut();
            if out.closed {
                return Poll::Ready(false);
            }
            if out.bytes.is_empty() {
                out.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(true)
        });
        if !open.await {
            return;
        }
        let broken = match channel.flush() {
            Flushed::All => false,
            Flushed::Blocked => channel.socket.writable().await.is_err(),
            Flushed::Broken => true,
        };
        if broken {
            channel.close(&Closed::Gone);
            return;
        }
        channel.close_if_done();
    }
}
