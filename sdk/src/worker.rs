//! A blocking worker after the handshake: receives requests and sends responses.
//!
//! The worker handles one request at a time. It handles all requests that it has read (a batch), then writes all their
//! responses together, then waits for more requests.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hearth_protocol::MAX_CHUNK;
use hearth_protocol::control::Control;
use hearth_protocol::data::ErrorCode;
use hearth_protocol::head::Limits;
use hearth_sys::wait::{Waiting, wait};

use crate::flusher::Flusher;
use crate::handshake::{self, ControlSocket, Step};
use crate::log;
use crate::request::Request;
use crate::response::Response;
use crate::slots::{Gone, Incoming};
use crate::socket::{DataSocket, Received};

/// Number of responses after which the worker writes them in the middle of a long batch. The gateway can then process
/// them and send further requests, which arrive before the batch ends.
const HALF_ROW: u32 = 16;

/// A stream of a data socket. Sockets are numbered in the order in which they are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) socket: u32,
    pub(crate) stream: u32,
}

/// A blocking worker: its sockets and the requests on them.
#[derive(Debug)]
pub(crate) struct Worker {
    control: ControlSocket,
    limits: Limits,
    sockets: Vec<Attached>,
    next_socket: u32,
    row: VecDeque<(u32, Incoming)>,
    row_read: Instant,
    /// Number of responses that wait to be written.
    unsent: u32,
    ready_sent: bool,
    ending: Ending,
    /// The time at which the platform kills the worker, if the worker is ending.
    deadline: Instant,
    flusher: Flusher,
}

/// Whether the worker is ending, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// No new requests arrive. The worker ends when the gateway has closed its sockets.
    Draining,
    /// The worker ends as soon as it has answered the requests that it has already read.
    Stopping,
}

/// What the worker must do next.
#[derive(Debug)]
pub(crate) enum Event {
    /// A request.
    Request(Key, Box<Request>),
    /// Nothing has arrived within the given time.
    Idle,
    /// The worker must end before this deadline.
    End(Instant),
}

#[derive(Debug)]
struct Attached {
    number: u32,
    thread: u32,
    socket: DataSocket,
}

impl Worker {
    /// Performs the handshake, if that has not happened yet. Returns `None` if the control socket has been taken
    /// already.
    pub(crate) fn start() -> Option<Worker> {
        Some(Worker {
            limits: handshake::config().limits,
            control: handshake::control_socket()?,
            sockets: Vec::new(),
            next_socket: 0,
            row: VecDeque::new(),
            row_read: Instant::now(),
            unsent: 0,
            ready_sent: false,
            ending: Ending::No,
            deadline: Instant::now(),
            flusher: Flusher::default(),
        })
    }

    /// Waits for the next request, or for the end of the worker. Returns `Idle` if nothing arrives within `patience`.
    /// Sends READY at the first call.
    pub(crate) fn next(&mut self, patience: Option<Duration>) -> Event {
        if !self.ready_sent {
            self.ready_sent = true;
            self.send_control(Control::Ready);
        }
        loop {
            if let Some((number, incoming)) = self.row.pop_front() {
                if self.unsent >= HALF_ROW {
                    self.flush_all();
                }
                match self.begin(number, incoming) {
                    Some((key, request)) => return Event::Request(key, Box::new(request)),
                    None => continue,
                }
            }
            self.flush_all();
            let drained = self.ending == Ending::Draining && self.sockets.is_empty();
            if self.ending == Ending::Stopping || drained {
                return Event::End(self.deadline);
            }
            if !self.wait_and_receive(patience) {
                return Event::Idle;
            }
        }
    }

    /// Encodes the response to a request. The frames are written later, unless the body is longer than one frame.
    pub(crate) fn answer(&mut self, key: Key, response: &Response) {
        self.flusher.progressed();
        self.unsent += 1;
        let Some(socket) = self.socket(key.socket) else {
            return;
        };
        let mut out = socket.outbox.lock();
        if socket.slots.is_cancelled(key.stream) {
            socket
                .slots
                .refuse(key.stream, ErrorCode::Cancelled, "cancelled", &mut out);
            return;
        }
        match response.encode(key.stream, &mut out) {
            Ok((_, true)) => {
                socket.slots.close(key.stream);
            }
            Ok((rest, false)) => {
                drop(out);
                if !rest.is_empty() {
                    let _ = self.write_all(key, rest);
                    self.finish(key);
                }
            }
            Err(error) => {
                let reason = error.to_string();
                socket
                    .slots
                    .refuse(key.stream, ErrorCode::Internal, &reason, &mut out);
            }
        }
    }

    /// Ends the stream after a streamed body, or confirms that it is cancelled.
    pub(crate) fn finish(&mut self, key: Key) {
        if let Some(socket) = self.socket(key.socket) {
            let mut out = socket.outbox.lock();
            if socket.slots.is_cancelled(key.stream) {
                socket
                    .slots
                    .refuse(key.stream, ErrorCode::Cancelled, "cancelled", &mut out);
            } else {
                socket.slots.finish(key.stream, &mut out);
            }
        }
    }

    /// Aborts a streamed body with an ERROR frame.
    pub(crate) fn fail(&mut self, key: Key, reason: &str) {
        if let Some(socket) = self.socket(key.socket) {
            let mut out = socket.outbox.lock();
            socket
                .slots
                .refuse(key.stream, ErrorCode::Internal, reason, &mut out);
        }
    }

    /// Reads from a body that is still arriving. Blocks until there are bytes, or the body ends.
    pub(crate) fn read_body(&mut self, key: Key, room: &mut [u8]) -> io::Result<usize> {
        loop {
            let socket = self.socket(key.socket).ok_or(Gone)?;
            let mut out = socket.outbox.lock();
            let read = socket.slots.read(key.stream, room, &mut out);
            drop(out);
            match read {
                // The read may have returned credit, for which the gateway may be waiting.
                Ok(Some(count)) => return self.flush(key).map(|()| count),
                Ok(None) => {
                    self.flush_all();
                    self.wait_and_receive(None);
                }
                Err(gone) => return Err(gone.into()),
            }
        }
    }

    /// Writes to a streamed body. Blocks until the stream has credit.
    pub(crate) fn write_body(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            let socket = self.socket(key.socket).ok_or(Gone)?;
            let mut out = socket.outbox.lock();
            let written = socket.slots.write(key.stream, bytes, &mut out);
            let full = out.len() >= MAX_CHUNK;
            drop(out);
            match written {
                Ok(0) => {
                    self.flush_all();
                    self.wait_and_receive(None);
                }
                Ok(count) => {
                    if full {
                        self.flush(key)?;
                    }
                    return Ok(count);
                }
                Err(gone) => return Err(gone.into()),
            }
        }
    }

    /// Writes the frames that wait on the socket of this stream.
    pub(crate) fn flush(&mut self, key: Key) -> io::Result<()> {
        let socket = self.socket(key.socket).ok_or(Gone)?;
        socket.outbox.flush()
    }

    fn write_all(&mut self, key: Key, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write_body(key, bytes)?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    fn socket(&mut self, number: u32) -> Option<&mut DataSocket> {
        self.sockets
            .iter_mut()
            .find(|one| one.number == number)
            .map(|one| &mut one.socket)
    }

    /// Decodes a request. If it has been cancelled or its head is invalid, ends its stream and returns `None`.
    fn begin(&mut self, number: u32, incoming: Incoming) -> Option<(Key, Request)> {
        let row_read = self.row_read;
        let socket = self.socket(number)?;
        let key = Key {
            socket: number,
            stream: incoming.stream,
        };
        if socket.slots.is_cancelled(key.stream) {
            let mut out = socket.outbox.lock();
            socket
                .slots
                .refuse(key.stream, ErrorCode::Cancelled, "cancelled", &mut out);
            return None;
        }
        match Request::from_incoming(incoming, key, row_read) {
            Ok(request) => Some((key, request)),
            Err(error) => {
                let reason = error.to_string();
                let mut out = socket.outbox.lock();
                socket
                    .slots
                    .refuse(key.stream, ErrorCode::Protocol, &reason, &mut out);
                None
            }
        }
    }

    fn flush_all(&mut self) {
        self.unsent = 0;
        // If a write fails, the next read finds the socket closed.
        for attached in &self.sockets {
            let _ = attached.socket.outbox.flush();
        }
    }

    /// Waits until a socket is readable, then reads and applies what has arrived. Returns `false` if nothing arrived
    /// within `patience`.
    fn wait_and_receive(&mut self, patience: Option<Duration>) -> bool {
        let mut waiting: Vec<Waiting<'_>> = Vec::with_capacity(1 + self.sockets.len());
        waiting.push(Waiting::read(self.control.stream.as_fd()));
        waiting.extend(
            self.sockets
                .iter()
                .map(|one| Waiting::read(one.socket.outbox.as_fd())),
        );
        match wait(&mut waiting, patience) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(_) => {
                self.ending = Ending::Stopping;
                return true;
            }
        }
        let control = waiting[0].readable;
        let readable: Vec<u32> = waiting[1..]
            .iter()
            .zip(&self.sockets)
            .filter(|(waiting, _)| waiting.readable)
            .map(|(_, attached)| attached.number)
            .collect();
        drop(waiting);
        for number in readable {
            self.receive(number);
        }
        if control {
            self.receive_control();
        }
        true
    }

    fn receive(&mut self, number: u32) {
        let Some(socket) = self.socket(number) else {
            return;
        };
        match socket.receive() {
            Ok(Received::Requests(requests)) => {
                if requests.is_empty() {
                    return;
                }
                self.row_read = Instant::now();
                self.row
                    .extend(requests.into_iter().map(|incoming| (number, incoming)));
                if self.row.len() > 1 {
                    self.flusher.row_begins();
                }
            }
            Ok(Received::Closed) => self.detach(number),
            Err(why) => {
                socket.break_off(&why);
                self.detach(number);
                log::error(format_args!("data socket closed: {why}"));
            }
        }
    }

    /// Removes a socket, and its requests that have not been started.
    fn detach(&mut self, number: u32) {
        self.sockets.retain(|one| one.number != number);
        self.row.retain(|(from, _)| *from != number);
        self.watch();
    }

    fn attach(&mut self, thread: u32, stream: UnixStream) {
        self.sockets.retain(|one| one.thread != thread);
        let number = self.next_socket;
        self.next_socket += 1;
        if let Ok(socket) = DataSocket::new(stream, self.limits) {
            self.sockets.push(Attached {
                number,
                thread,
                socket,
            });
        }
        self.watch();
    }

    fn watch(&self) {
        self.flusher.watch(
            self.sockets
                .iter()
                .map(|one| one.socket.outbox.clone())
                .collect(),
        );
    }

    fn send_control(&mut self, message: Control<'_>) {
        if handshake::tell(message).is_err() {
            self.ending = Ending::Stopping;
        }
    }

    fn receive_control(&mut self) {
        let mut descriptors = Vec::new();
        let control = &mut self.control;
        let room = control.buffer.room();
        match hearth_sys::passing::receive(control.stream.as_fd(), room, &mut descriptors) {
            // The supervisor has closed the control socket, so the worker ends.
            Ok(0) => self.ending = Ending::Stopping,
            Ok(count) => control.buffer.filled(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.ending = Ending::Stopping,
        }
        self.control.descriptors.extend(descriptors);
        loop {
            let step = match self.control.buffer.next_frame() {
                Ok(Some(frame)) => Control::parse(&frame).map(Step::of),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            match step {
                Ok(Step::Attach(thread)) => {
                    if let Some(fd) = self.control.descriptors.pop_front() {
                        self.attach(thread, UnixStream::from(fd));
                    }
                }
                Ok(Step::Pong(nonce)) => self.send_control(Control::Pong { nonce }),
                Ok(Step::Drain(deadline)) => self.drain(deadline),
                Ok(Step::Nothing) => {}
                Ok(Step::Stop(deadline)) => {
                    self.deadline = deadline;
                    self.ending = Ending::Stopping;
                }
                Err(error) => {
                    log::error(format_args!("control socket: {error}"));
                    self.ending = Ending::Stopping;
                    return;
                }
            }
        }
    }

    /// Begins the drain. Requests that wait behind a running handler are returned to the gateway, but only those whose
    /// bodies are complete, because only these can be sent to another worker. (While a handler runs, only its reads and
    /// writes of bodies process control frames.)
    fn drain(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.ending = Ending::Draining;
        let whole = |(_, incoming): &(u32, Incoming)| incoming.end;
        for attached in &mut self.sockets {
            let row = self.row.iter().filter(|one| whole(one));
            let mine = row.filter(|(number, _)| *number == attached.number);
            let not_started: Vec<u32> = mine.map(|(_, incoming)| incoming.stream).collect();
            let mut out = attached.socket.outbox.lock();
            attached.socket.slots.goaway(&not_started, &mut out);
        }
        self.row.retain(|one| !whole(one));
    }
}
