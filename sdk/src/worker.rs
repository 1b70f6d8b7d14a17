//! The worker's side of its sockets: handshake, requests in, answers out.
//!
//! Blocking, one request at a time. The order of things: work off what has been read, then write all
//! answers at once, then wait for more.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use hearth_protocol::control::Control;
use hearth_protocol::data::{ErrorCode, encode_head};
use hearth_protocol::frame::{FrameError, Kind};
use hearth_protocol::head::{Config, HeadError, LogRecord, RequestHead, ResponseHead};
use hearth_protocol::{CONTROL_ROOM, Codec, FrameBuffer, MAX_CHUNK, MAX_CONTROL_LEN, VERSION};
use hearth_sys::wait::{Waiting, wait};

use crate::body::Body;
use crate::flusher::Flusher;
use crate::request::Request;
use crate::response::{Response, ResponseBody};
use crate::slots::{Gone, Incoming};
use crate::socket::{DataSocket, Received};

/// The codec of the SDK's heads.
const CODEC: Codec = Codec::MessagePack;

/// Answers of a long row that are written while the rest is worked off: half of what the gateway
/// sends in advance, so that it has something to do meanwhile, and its next row is here before this
/// one ends.
const HALF_ROW: u32 = 16;

/// Which stream of which socket: sockets are numbered as they are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    socket: u32,
    stream: u32,
}

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    #[error(
        "this program is a Hearth function: `hearth up` starts it, from a manifest that names it"
    )]
    NotStartedByHearth(#[source] io::Error),
    #[error("the control socket failed")]
    Control(#[source] io::Error),
    #[error("the supervisor closed the control socket before CONFIG")]
    NoConfig,
    #[error("bad frame on the control socket")]
    Frame(#[from] FrameError),
    #[error("bad CONFIG")]
    Config(#[source] HeadError),
    #[error("the platform speaks version {0} of the wire, this worker {VERSION}")]
    Version(u8),
    #[error("{0} frame where CONFIG was expected")]
    Unexpected(&'static str),
}

/// The worker's sockets and what is under way on them.
#[derive(Debug)]
pub(crate) struct Worker {
    control: UnixStream,
    control_buffer: FrameBuffer,
    /// Descriptors that came and wait for their ATTACH.
    descriptors: VecDeque<OwnedFd>,
    config: &'static Config,
    sockets: Vec<Attached>,
    next_socket: u32,
    row: VecDeque<(u32, Incoming)>,
    row_read: Instant,
    /// Answers that wait to be written.
    unsent: u32,
    ready_sent: bool,
    stopping: bool,
    /// Nothing new comes; it ends once the gateway has closed its sockets.
    draining: bool,
    flusher: Flusher,
}

#[derive(Debug)]
struct Attached {
    number: u32,
    thread: u32,
    socket: DataSocket,
}

impl Worker {
    /// Says HELLO on descriptor 3 and waits for CONFIG.
    pub(crate) fn start() -> Result<Worker, WorkerError> {
        let control = hearth_sys::inherit::take_unix_stream(hearth_sys::inherit::FIRST)
            .map_err(WorkerError::NotStartedByHearth)?;
        let mut hello = Vec::new();
        Control::Hello {
            lowest: VERSION,
            highest: VERSION,
            codec: CODEC,
        }
        .encode(&mut hello);
        (&control).write_all(&hello).map_err(WorkerError::Control)?;

        let mut control_buffer = FrameBuffer::new(MAX_CONTROL_LEN, CONTROL_ROOM);
        let mut descriptors = Vec::new();
        let config = loop {
            if let Some(frame) = control_buffer.next_frame()? {
                match Control::parse(&frame)? {
                    Control::Config { config } => {
                        break CODEC
                            .decode::<Config>(config)
                            .map_err(WorkerError::Config)?;
                    }
                    _ => return Err(WorkerError::Unexpected(frame.kind.name())),
                }
            }
            let room = control_buffer.room();
            match hearth_sys::passing::receive(control.as_fd(), room, &mut descriptors) {
                Ok(0) => return Err(WorkerError::NoConfig),
                Ok(count) => control_buffer.filled(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(WorkerError::Control(error)),
            }
        };
        if config.version != VERSION {
            return Err(WorkerError::Version(config.version));
        }
        Ok(Worker {
            control,
            control_buffer,
            descriptors: descriptors.into(),
            // Made once in the life of the process, and read until its end.
            config: Box::leak(Box::new(config)),
            sockets: Vec::new(),
            next_socket: 0,
            row: VecDeque::new(),
            row_read: Instant::now(),
            unsent: 0,
            ready_sent: false,
            stopping: false,
            draining: false,
            flusher: Flusher::default(),
        })
    }

    pub(crate) fn config(&self) -> &'static Config {
        self.config
    }

    /// Tells the supervisor that the state could not be made.
    pub(crate) fn start_failed(&mut self, message: &str) {
        self.send_control(Control::StartFailed { message });
    }

    /// Puts a line into the platform's log.
    pub(crate) fn log(&mut self, level: &str, message: &str, request: Option<&str>) {
        let record = LogRecord {
            level: level.into(),
            message: message.into(),
            request: request.map(Into::into),
            ..LogRecord::default()
        };
        let mut bytes = Vec::new();
        if CODEC.encode(&record, &mut bytes).is_ok() {
            self.send_control(Control::Log { record: &bytes });
        }
    }

    /// The next request; `None` when the worker is to end. Says READY the first time.
    pub(crate) fn next(&mut self) -> Option<(Key, Request)> {
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
                    Some(request) => return Some(request),
                    None => continue,
                }
            }
            self.flush_all();
            if self.stopping || self.draining && self.sockets.is_empty() {
                return None;
            }
            self.wait_and_receive();
        }
    }

    /// Sends the answer to a request.
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
        let (first, rest, end) = match &response.body {
            ResponseBody::Whole(bytes) => {
                let (first, rest) = bytes.split_at(bytes.len().min(MAX_CHUNK));
                (first, rest, rest.is_empty())
            }
            ResponseBody::Stream(_) => (&[][..], &[][..], false),
        };
        let write = |out: &mut Vec<u8>| {
            let headers = response.headers();
            ResponseHead::encode(CODEC, response.status_code(), headers, out)
        };
        match encode_head(&mut out, Kind::Response, key.stream, write, first, end) {
            Ok(()) if end => {
                socket.slots.close(key.stream);
            }
            Ok(()) => {
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

    /// Ends a streamed body.
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

    /// Breaks a streamed body off.
    pub(crate) fn fail(&mut self, key: Key, reason: &str) {
        if let Some(socket) = self.socket(key.socket) {
            let mut out = socket.outbox.lock();
            socket
                .slots
                .refuse(key.stream, ErrorCode::Internal, reason, &mut out);
        }
    }

    /// Reads from a body that is still coming.
    pub(crate) fn read_body(&mut self, key: Key, room: &mut [u8]) -> io::Result<usize> {
        loop {
            let socket = self.socket(key.socket).ok_or_else(gone)?;
            let mut out = socket.outbox.lock();
            let read = socket.slots.read(key.stream, room, &mut out);
            drop(out);
            match read {
                // Credit that was just given must reach a gateway that waits for it.
                Ok(Some(count)) => return self.flush(key).map(|()| count),
                Ok(None) => {
                    self.flush_all();
                    self.wait_and_receive();
                }
                Err(Gone) => return Err(gone()),
            }
        }
    }

    /// Writes to a body that is sent as it is made; waits for credit.
    pub(crate) fn write_body(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            let socket = self.socket(key.socket).ok_or_else(gone)?;
            let mut out = socket.outbox.lock();
            let written = socket.slots.write(key.stream, bytes, &mut out);
            let full = out.len() >= MAX_CHUNK;
            drop(out);
            match written {
                Ok(0) => {
                    self.flush_all();
                    self.wait_and_receive();
                }
                Ok(count) => {
                    if full {
                        self.flush(key)?;
                    }
                    return Ok(count);
                }
                Err(Gone) => return Err(gone()),
            }
        }
    }

    /// Writes what waits on a request's socket.
    pub(crate) fn flush(&mut self, key: Key) -> io::Result<()> {
        let socket = self.socket(key.socket).ok_or_else(gone)?;
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

    /// Turns what came into a request, unless it was cancelled meanwhile.
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
        match RequestHead::decode(CODEC, &incoming.head) {
            Ok(head) => {
                let body = if incoming.end {
                    Body::whole(incoming.body)
                } else {
                    Body::coming(incoming.body, key)
                };
                let request = Request::from_head(&incoming.head, &head, body, row_read);
                Some((key, request))
            }
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
        // A socket that cannot be written any more is found closed by the next read.
        for attached in &self.sockets {
            let _ = attached.socket.outbox.flush();
        }
    }

    /// Waits until any socket has something, and books it.
    fn wait_and_receive(&mut self) {
        let mut waiting: Vec<Waiting<'_>> = Vec::with_capacity(1 + self.sockets.len());
        waiting.push(Waiting::read(self.control.as_fd()));
        waiting.extend(
            self.sockets
                .iter()
                .map(|one| Waiting::read(one.socket.outbox.as_fd())),
        );
        if wait(&mut waiting, None).is_err() {
            self.stopping = true;
            return;
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
                self.log("error", &format!("data socket closed: {why}"), None);
            }
        }
    }

    /// Forgets a socket, and what was read from it and not yet started.
    fn detach(&mut self, number: u32) {
        self.sockets.retain(|one| one.number != number);
        self.row.retain(|(from, _)| *from != number);
        self.watch();
    }

    fn attach(&mut self, thread: u32, stream: UnixStream) {
        self.sockets.retain(|one| one.thread != thread);
        let number = self.next_socket;
        self.next_socket += 1;
        if let Ok(socket) = DataSocket::new(stream, self.config.limits) {
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
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        if (&self.control).write_all(&bytes).is_err() {
            self.stopping = true;
        }
    }

    fn receive_control(&mut self) {
        let mut descriptors = Vec::new();
        let room = self.control_buffer.room();
        match hearth_sys::passing::receive(self.control.as_fd(), room, &mut descriptors) {
            // Without a supervisor nobody wants this worker any more.
            Ok(0) => self.stopping = true,
            Ok(count) => self.control_buffer.filled(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.stopping = true,
        }
        self.descriptors.extend(descriptors);
        loop {
            let step = match self.control_buffer.next_frame() {
                Ok(Some(frame)) => Control::parse(&frame).map(|message| match message {
                    Control::Attach { thread } => Step::Attach(thread),
                    Control::Ping { nonce } => Step::Pong(nonce),
                    Control::Drain { .. } => Step::Drain,
                    Control::Stop { .. } => Step::Stop,
                    Control::Pong { .. } | Control::Unknown { .. } => Step::Nothing,
                    Control::Hello { .. }
                    | Control::Config { .. }
                    | Control::Ready
                    | Control::StartFailed { .. }
                    | Control::Log { .. } => Step::Stop,
                }),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            match step {
                Ok(Step::Attach(thread)) => {
                    if let Some(fd) = self.descriptors.pop_front() {
                        self.attach(thread, UnixStream::from(fd));
                    }
                }
                Ok(Step::Pong(nonce)) => self.send_control(Control::Pong { nonce }),
                Ok(Step::Drain) => self.drain(),
                Ok(Step::Nothing) => {}
                Ok(Step::Stop) => self.stopping = true,
                Err(error) => {
                    self.log("error", &format!("control socket: {error}"), None);
                    self.stopping = true;
                    return;
                }
            }
        }
    }

    /// Nothing new will come. What waits behind a handler that is still at work (only its reads and
    /// writes get us here then) is given back, if all of it has come: only then can another worker be
    /// asked.
    fn drain(&mut self) {
        self.draining = true;
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

/// What a control frame asks for, free of the buffer it came in.
enum Step {
    Attach(u32),
    Pong(u32),
    Drain,
    Stop,
    Nothing,
}

fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the client or the gateway gave up",
    )
}
