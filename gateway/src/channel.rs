//! One thread's data socket to one worker: many streams over it, each with a handle of its own.
//!
//! Requests append frames to one buffer and wake the writer only when that buffer was empty; the
//! writer then writes all of it at once. The reader books every frame of one read before it reads
//! again. Streams' states are in [`crate::stream`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use hearth_protocol::data::{Data, ErrorCode, encode_head};
use hearth_protocol::frame::{FrameError, Kind};
use hearth_protocol::head::{Limits, RequestHead};
use hearth_protocol::{DATA_ROOM, FrameBuffer, MAX_DATA_LEN};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::handle::StreamHandle;
use crate::pool::{Lease, Worker};
use crate::stream::{STUCK, Streams, Time};

/// A thread's connection to one worker.
pub struct Channel {
    /// Whose it is.
    pub worker: Arc<Worker>,
    pub(crate) streams: RefCell<Streams>,
    socket: OwnedWriteHalf,
    out: RefCell<Out>,
    /// When the worker last began to have something to do, or last answered.
    busy_since: Cell<Instant>,
    /// Nothing new comes; closed once all that is under way has ended.
    retired: Cell<bool>,
    lost: mpsc::UnboundedSender<Lost>,
}

/// A worker whose channel has ended, and why, if it is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Which.
    pub worker: u32,
    /// What it did, as the rest of a sentence; empty if its end was simply closed.
    pub why: String,
}

#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    /// How many of them have been written.
    start: usize,
    writer: Option<Waker>,
    /// Bytes ever appended, and ever written: what lies between has not reached the worker.
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

    /// Whether it can still be used.
    pub fn is_open(&self) -> bool {
        !self.out.borrow().closed
    }

    /// Closes our direction once nothing is under way any more: the worker then knows that it has had
    /// everything.
    pub fn retire(&self) {
        self.retired.set(true);
        self.close_if_done();
    }

    fn close_if_done(&self) {
        if !self.retired.get() || !self.streams.borrow().is_idle() || self.has_unwritten() {
            return;
        }
        // A socket that cannot be shut down is closed already.
        let _ = hearth_sys::unix::end_writing(self.socket.as_ref());
    }

    fn has_unwritten(&self) -> bool {
        !self.out.borrow().bytes.is_empty()
    }

    /// Sends a request's head with the body's first bytes (`end`: all of them) on a free slot.
    ///
    /// # Errors
    /// [`Failure::NotSent`] if the channel is closed; the lease is given back.
    pub fn send(
        self: &Rc<Self>,
        lease: Lease,
        time: Time,
        head: &RequestHead<'_>,
        body: &[u8],
        end: bool,
    ) -> Result<StreamHandle, Failure> {
        if !self.is_open() || self.retired.get() {
            return Err(Failure::NotSent);
        }
        let mut streams = self.streams.borrow_mut();
        if streams.is_idle() {
            // What waited for its turn was asked for long ago; the worker was busy until it answered.
            self.busy_since.set(self.busy_since.get().max(time.asked));
        }
        let position = self.out.borrow().appended;
        let stream = streams.open(lease, time, end, position);
        let mut encoded = Ok(());
        self.append(|out| {
            let head = |out: &mut Vec<u8>| head.encode(self.worker.codec, out);
            encoded = encode_head(out, Kind::Request, stream, head, body, end);
        });
        if encoded.is_err() {
            streams.discard(stream);
            return Err(Failure::HeadTooLarge);
        }
        let epoch = streams.epoch(stream);
        drop(streams);
        Ok(StreamHandle::new(Rc::clone(self), stream, epoch))
    }

    /// Fails every stream whose time is over; `true` while there are any left.
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

    /// Appends frames and sees to it that they are written.
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

    /// Writes what waits, as far as the socket takes it.
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
        // A burst's buffer is not kept for quiet times.
        if out.bytes.capacity() > 4 * MAX_DATA_LEN as usize {
            out.bytes = Vec::new();
        }
        Flushed::All
    }

    /// Ends the channel: every stream on it fails with `why`.
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

    /// Books all whole frames in `buffer`.
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

/// What one read brought, beyond what the streams keep.
#[derive(Default)]
pub(crate) struct Booked {
    /// The worker has ended these.
    pub(crate) ended: Vec<Lease>,
    /// Those who wait for something that has come.
    pub(crate) wakers: Vec<Waker>,
}

enum Flushed {
    All,
    Blocked,
    Broken,
}

/// Why a channel ended.
#[derive(Clone, Debug)]
pub(crate) enum Closed {
    /// The worker closed it, or died.
    Gone,
    /// The worker broke the rules of the wire.
    Protocol(String),
    /// The worker said that we did.
    Peer(String),
    /// The worker does not end what nobody waits for any more.
    Stuck,
}

impl Closed {
    fn protocol(error: FrameError) -> Closed {
        Closed::Protocol(error.to_string())
    }
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
            // Requests that waited have just been given the places that came free. They go out
            // first: the worker has its next row while we write the answers of this one.
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

/// Lets the tasks that are ready now go first, without a look at the sockets in between.
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
