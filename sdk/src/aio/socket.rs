//! One data socket of an asynchronous worker: a task that reads, a task that writes, and the tasks that wait for
//! changes of their streams.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hearth_protocol::data::{Data, ErrorCode};
use hearth_protocol::head::Limits;
use hearth_protocol::{FrameBuffer, MAX_DATA_LEN};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use crate::aio::Worker;
use crate::log;
use crate::response::{Response, ResponseBody};
use crate::slots::{Broken, Gone, Incoming, Slots};
use crate::worker::Key;

/// Number of bytes that one read can take, as in a blocking worker.
const ROOM: usize = 16 * 1024;

/// A data socket to one thread of the gateway.
pub(crate) struct Socket {
    pub(crate) number: u32,
    pub(crate) thread: u32,
    stream: UnixStream,
    slots: RefCell<Slots>,
    /// Frames that wait to be written.
    out: RefCell<Vec<u8>>,
    /// Whether frames wait in `out` or are being written.
    unwritten: Cell<bool>,
    /// Wakes the writing task: frames wait in `out`, or the socket is closed.
    some: Notify,
    /// Wakes tasks in `flushed`: all frames have been written, or writing is no longer possible.
    none: Notify,
    /// The wakers of the tasks that wait for a change of a stream, by stream.
    waiting: RefCell<BTreeMap<u32, Vec<Waker>>>,
    closed: Cell<bool>,
}

impl Socket {
    pub(crate) fn new(
        number: u32,
        thread: u32,
        stream: StdUnixStream,
        limits: Limits,
    ) -> io::Result<Rc<Socket>> {
        stream.set_nonblocking(true)?;
        Ok(Rc::new(Socket {
            number,
            thread,
            stream: UnixStream::from_std(stream)?,
            slots: RefCell::new(Slots::new(limits)),
            out: RefCell::default(),
            unwritten: Cell::new(false),
            some: Notify::new(),
            none: Notify::new(),
            waiting: RefCell::default(),
            closed: Cell::new(false),
        }))
    }

    /// Changes streams, and schedules the writing of the frames that result.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Slots, &mut Vec<u8>) -> T) -> T {
        let mut out = self.out.borrow_mut();
        let result = change(&mut self.slots.borrow_mut(), &mut out);
        if !out.is_empty() {
            self.unwritten.set(true);
            self.some.notify_one();
        }
        result
    }

    /// Ends the worker's direction of a stream with an ERROR frame.
    pub(crate) fn refuse(&self, stream: u32, code: ErrorCode, reason: &str) {
        self.with(|slots, out| slots.refuse(stream, code, reason, out));
    }

    /// Whether the stream is cancelled, or the socket is closed. Wakes the calling task when the stream changes.
    pub(crate) fn is_unwanted(&self, stream: u32, cx: &Context<'_>) -> bool {
        self.wait_for(stream, cx);
        self.closed.get() || self.slots.borrow().is_cancelled(stream)
    }

    /// Calls `look` after every change of the stream until it returns a value.
    pub(crate) async fn until<T>(
        &self,
        stream: u32,
        mut look: impl FnMut(&mut Slots, &mut Vec<u8>) -> Result<Option<T>, Gone>,
    ) -> io::Result<T> {
        poll_fn(|cx| {
            if self.closed.get() {
                return Poll::Ready(Err(Gone.into()));
            }
            match self.with(&mut look) {
                Ok(Some(found)) => Poll::Ready(Ok(found)),
                Ok(None) => {
                    self.wait_for(stream, cx);
                    Poll::Pending
                }
                Err(gone) => Poll::Ready(Err(gone.into())),
            }
        })
        .await
    }

    fn wait_for(&self, stream: u32, cx: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        let wakers = waiting.entry(stream).or_default();
        if !wakers.iter().any(|known| known.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
    }

    fn wake(&self, stream: u32) {
        let wakers = self.waiting.borrow_mut().remove(&stream);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Sends the response to a request. Its body waits for credit.
    ///
    /// # Errors
    /// The reason why the response could not be sent completely. (If the request is cancelled, this future is normally
    /// dropped before it can fail.)
    pub(crate) async fn answer(&self, stream: u32, response: Response) -> Result<(), String> {
        if let ResponseBody::Stream(_) = response.body {
            return Err("a body that blocks, of an asynchronous handler".to_owned());
        }
        let (rest, end) = self.with(|slots, out| {
            let encoded = response.encode(stream, out);
            if let Ok((_, true)) = encoded {
                slots.close(stream);
            }
            encoded.map_err(|error| error.to_string())
        })?;
        if end {
            self.waiting.borrow_mut().remove(&stream);
            return Ok(());
        }
        let written = match response.body {
            ResponseBody::Async(write) => {
                let key = Key {
                    socket: self.number,
                    stream,
                };
                match super::catch(super::write(key, write)).await {
                    Ok(written) => written.map_err(|error| error.to_string()),
                    Err(message) => Err(panicked(&message)),
                }
            }
            _ => self.write(stream, rest).await.map_err(|e| e.to_string()),
        };
        self.waiting.borrow_mut().remove(&stream);
        written?;
        self.with(|slots, out| slots.finish(stream, out));
        Ok(())
    }

    /// Writes to a body. Waits for credit.
    pub(crate) async fn write(&self, stream: u32, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.until(stream, |slots, out| {
                let count = slots.write(stream, bytes, out)?;
                Ok(Some(count).filter(|count| *count > 0))
            });
            bytes = &bytes[count.await?..];
        }
        Ok(())
    }

    /// Waits until all frames have been written, or the socket is closed.
    pub(crate) async fn flushed(&self) {
        loop {
            let none = self.none.notified();
            if self.closed.get() || !self.unwritten.get() {
                return;
            }
            none.await;
        }
    }

    /// Reads until the gateway has closed the socket.
    pub(crate) async fn read_all(self: Rc<Self>, worker: Rc<Worker>) {
        let mut buffer = FrameBuffer::new(MAX_DATA_LEN, ROOM);
        loop {
            if self.stream.readable().await.is_err() {
                break;
            }
            match self.stream.try_read(buffer.room()) {
                Ok(0) => break,
                Ok(count) => buffer.filled(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => break,
            }
            match self.receive(&mut buffer) {
                Ok(requests) => worker.take(&self, requests),
                Err(why) => {
                    self.break_off(&why).await;
                    break;
                }
            }
        }
        self.closed.set(true);
        self.some.notify_one();
        self.none.notify_waiters();
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_values().flatten().for_each(Waker::wake);
        worker.detach(self.number);
    }

    fn receive(&self, buffer: &mut FrameBuffer) -> Result<Vec<Incoming>, Broken> {
        let mut requests = Vec::new();
        while let Some(frame) = buffer.next_frame()? {
            let stream = frame.stream;
            let message = Data::parse(&frame)?;
            requests.extend(self.with(|slots, out| slots.receive(message, out))?);
            self.wake(stream);
        }
        Ok(requests)
    }

    /// Reports to the gateway why the worker ends the connection.
    async fn break_off(&self, why: &Broken) {
        log::error(format_args!("data socket closed: {why}"));
        self.with(|_, out| why.encode(out));
        self.flushed().await;
    }

    /// Writes frames from `out` until the socket is closed.
    pub(crate) async fn write_all(self: Rc<Self>) {
        while !self.closed.get() {
            let bytes = std::mem::take(&mut *self.out.borrow_mut());
            if bytes.is_empty() {
                self.unwritten.set(false);
                self.none.notify_waiters();
                self.some.notified().await;
                continue;
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() && self.stream.writable().await.is_ok() {
                match self.stream.try_write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // The reading task gets the same error and closes the socket.
                    Err(_) => return self.none.notify_waiters(),
                }
            }
        }
    }
}

fn panicked(message: &str) -> String {
    log::error(message);
    "the handler panicked".to_owned()
}
