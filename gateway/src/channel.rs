//! One thread's data socket to one worker: many streams over it, each with a handle of its own.
//!
//! Requests append frames to one buffer and wake the writer only when that buffer was empty; the
//! writer then writes all of it at once. The reader books every frame of one read, and wakes those
//! who wait for them, before it reads again. Streams' states are in [`crate::stream`].

use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use hearth_protocol::data::{Data, ErrorCode, encode_head};
use hearth_protocol::frame::Kind;
use hearth_protocol::head::{Limits, RequestHead};
use hearth_protocol::{FrameBuffer, MAX_DATA_LEN};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::failure::Failure;
use crate::pool::{Lease, Worker};
use crate::stream::{StreamHandle, Streams};

/// A thread's connection to one worker.
pub struct Channel {
    /// Whose it is.
    pub worker: Arc<Worker>,
    pub(crate) streams: RefCell<Streams>,
    out: RefCell<Out>,
    /// When the worker last began to have something to do, or last answered.
    busy_since: Cell<Instant>,
}

#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
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
    ) -> io::Result<Rc<Channel>> {
        socket.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(socket)?.into_split();
        let channel = Rc::new(Channel {
            worker,
            streams: RefCell::new(Streams::new(limits.credit)),
            out: RefCell::default(),
            busy_since: Cell::new(Instant::now()),
        });
        tokio::task::spawn_local(read_all(Rc::clone(&channel), read));
        tokio::task::spawn_local(write_all(Rc::clone(&channel), write));
        Ok(channel)
    }

    /// Whether it can still be used.
    pub fn is_open(&self) -> bool {
        !self.out.borrow().closed
    }

    /// Sends a request's head with the body's first bytes (`end`: all of them) on a free slot.
    ///
    /// # Errors
    /// [`Failure::NotSent`] if the channel is closed; the lease is given back.
    pub fn send(
        self: &Rc<Self>,
        lease: Lease,
        head: &RequestHead<'_>,
        body: &[u8],
        end: bool,
    ) -> Result<StreamHandle, Failure> {
        if !self.is_open() {
            return Err(Failure::NotSent);
        }
        let mut streams = self.streams.borrow_mut();
        if streams.is_idle() {
            self.busy_since.set(Instant::now());
        }
        let position = self.out.borrow().appended;
        let stream = streams.open(lease, end, position);
        let mut encoded = Ok(());
        self.append(|out| {
            encoded = encode_head(
                out,
                Kind::Request,
                stream,
                self.worker.codec,
                head,
                body,
                end,
            );
        });
        if encoded.is_err() {
            streams.discard(stream);
            return Err(Failure::HeadTooLarge);
        }
        let epoch = streams.epoch(stream);
        drop(streams);
        Ok(StreamHandle::new(Rc::clone(self), stream, epoch))
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

    /// Ends the channel: every stream on it fails with `why`.
    fn close(&self, why: &Closed) {
        let written = {
            let mut out = self.out.borrow_mut();
            if out.closed {
                return;
            }
            out.closed = true;
            out.bytes = Vec::new();
            if let Some(writer) = out.writer.take() {
                writer.wake();
            }
            out.written
        };
        self.worker.leave();
        let leases = self.streams.borrow_mut().fail_all(written, why);
        drop(leases);
    }

    /// Books all whole frames in `buffer`.
    fn receive(&self, buffer: &mut FrameBuffer) -> Result<(), Closed> {
        let mut answers = 0;
        let mut ended = Vec::new();
        loop {
            let frame = match buffer.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return Err(Closed::Protocol(error.to_string())),
            };
            let message =
                Data::parse(&frame).map_err(|error| Closed::Protocol(error.to_string()))?;
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
            let reply = streams.receive(message, self.worker.codec, &mut ended)?;
            drop(streams);
            if let Some(reply) = reply {
                self.append(|out| reply.encode(out));
            }
        }
        if answers > 0 {
            let now = Instant::now();
            self.worker
                .served(answers, now - self.busy_since.replace(now));
        }
        // Given back only here: whoever gets one next may want this channel at once.
        drop(ended);
        Ok(())
    }
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
}

async fn read_all(channel: Rc<Channel>, mut socket: OwnedReadHalf) {
    let mut buffer = FrameBuffer::new(MAX_DATA_LEN);
    let why = loop {
        match socket.read(buffer.room()).await {
            Ok(0) | Err(_) => break Closed::Gone,
            Ok(count) => buffer.filled(count),
        }
        if let Err(why) = channel.receive(&mut buffer) {
            break why;
        }
        if !channel.is_open() {
            break Closed::Gone;
        }
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
        // One turn for the writer to say so.
        tokio::task::yield_now().await;
    }
    channel.close(&why);
}

async fn write_all(channel: Rc<Channel>, mut socket: OwnedWriteHalf) {
    let mut writing = Vec::new();
    loop {
        let open = std::future::poll_fn(|cx| {
            let mut out = channel.out.borrow_mut();
            if out.closed {
                return Poll::Ready(false);
            }
            if out.bytes.is_empty() {
                out.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            std::mem::swap(&mut out.bytes, &mut writing);
            Poll::Ready(true)
        });
        if !open.await {
            return;
        }
        if socket.write_all(&writing).await.is_err() {
            channel.close(&Closed::Gone);
            return;
        }
        channel.out.borrow_mut().written += writing.len() as u64;
        writing.clear();
        // A burst's buffer is not kept for quiet times.
        if writing.capacity() > 4 * MAX_DATA_LEN as usize {
            writing = Vec::new();
        }
    }
}
