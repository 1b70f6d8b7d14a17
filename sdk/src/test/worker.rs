//! Runs a built worker and communicates with it over the real protocol, as supervisor and gateway do.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::ToSocketAddrs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hearth_protocol::control::Control;
use hearth_protocol::data::{CancelReason, Data, encode_head};
use hearth_protocol::frame::{Frame, Kind};
use hearth_protocol::head::{LogRecord, RequestHead, ResponseHead};
use hearth_protocol::{
    CONTROL_ROOM, Codec, DATA_ROOM, FrameBuffer, INITIAL_CREDIT, MAX_CHUNK, MAX_CONTROL_LEN,
    MAX_DATA_LEN, VERSION,
};
use hearth_sys::spawn::{Child, Spawn, spawn};

use super::{Answer, Platform, routed};
use crate::request::Request;

/// Maximum time for each reply on the control socket, and for the end of the worker.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running worker: the program in a process of its own. Dropping it kills the process.
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use hearth_sdk::test::{Platform, Worker};
///
/// // In `tests/worker.rs` of a project: env!("CARGO_BIN_EXE_demo")
/// let platform = Platform::new().with_env("GREETING", "welcome");
/// let mut worker = Worker::start("target/debug/demo", platform)?.with_route("/hello/{name}");
/// assert_eq!(worker.get("/hello/ada")?.text(), "welcome, ada");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Worker {
    child: Child,
    codec: Codec,
    control: Arc<UnixStream>,
    data: UnixStream,
    buffer: FrameBuffer,
    stream: u32,
    routes: Vec<String>,
    steps: Receiver<Step>,
    said: Arc<Mutex<Vec<String>>>,
}

/// Why there is no response, or no worker.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The program could not be started, or a socket failed.
    #[error("the worker cannot be talked to: {0}")]
    Io(#[from] io::Error),
    /// The start of the worker failed with this message.
    #[error("could not start: {0}")]
    StartFailed(String),
    /// The worker has ended or closed its socket, or it did not reply on the control socket in time.
    #[error("the worker has ended")]
    Ended,
    /// The worker did not respond or end in time.
    #[error("the worker says nothing")]
    Silent,
    /// The worker refused the request, or aborted the response, for this reason.
    #[error("the worker refuses: {0}")]
    Refused(String),
    /// The worker broke the protocol.
    #[error("broke the protocol: {0}")]
    Protocol(String),
}

/// A message from the control socket.
#[derive(Debug)]
enum Step {
    Hello(Codec),
    Ready,
    Failed(String),
    Pong,
}

impl Worker {
    /// Starts a program and waits until it is ready.
    ///
    /// # Errors
    /// The program cannot be started, or the worker reports that its start has failed.
    pub fn start(program: impl AsRef<Path>, platform: Platform) -> Result<Worker, Broken> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = spawn(Spawn {
            descriptors: vec![OwnedFd::from(theirs)],
            ..Spawn::new(std::path::absolute(program)?)
        })?;
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            pass_on(out);
            pass_on(err);
        }
        let control = Arc::new(ours);
        let said = Arc::new(Mutex::new(Vec::new()));
        let steps = listen(Arc::clone(&control), Arc::clone(&said));
        let (data, theirs) = UnixStream::pair()?;
        let mut worker = Worker {
            child,
            codec: Codec::Json,
            control,
            data,
            buffer: FrameBuffer::new(MAX_DATA_LEN, DATA_ROOM),
            stream: 0,
            routes: Vec::new(),
            steps,
            said,
        };
        match worker.step()? {
            Step::Hello(codec) => worker.codec = codec,
            _ => return Err(Broken::Protocol("no HELLO".to_owned())),
        }
        let mut config = platform.0;
        config.version = VERSION;
        config.worker = 1;
        config.generation = 1;
        let mut encoded = Vec::new();
        let encodes = worker.codec.encode(&config, &mut encoded);
        encodes.map_err(|error| Broken::Protocol(error.to_string()))?;
        worker.tell(Control::Config { config: &encoded }, None)?;
        match worker.step()? {
            Step::Ready => {}
            Step::Failed(message) => return Err(Broken::StartFailed(message)),
            _ => return Err(Broken::Protocol("no READY".to_owned())),
        }
        worker.tell(Control::Attach { thread: 0 }, Some(theirs.into()))?;
        Ok(worker)
    }

    /// Adds a route of the manifest. A request that matches it gets its parameters.
    pub fn with_route(mut self, pattern: &str) -> Worker {
        self.routes.push(pattern.to_owned());
        self
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// As [`send`](Worker::send).
    pub fn get(&mut self, path_and_query: &str) -> Result<Answer, Broken> {
        self.send(Request::new("GET", path_and_query, ""))
    }

    /// Sends a POST request with this body.
    ///
    /// # Errors
    /// As [`send`](Worker::send).
    pub fn post(
        &mut self,
        path_and_query: &str,
        body: impl Into<Vec<u8>>,
    ) -> Result<Answer, Broken> {
        self.send(Request::new("POST", path_and_query, body))
    }

    /// Sends any request and waits for the complete response, until the request's deadline.
    ///
    /// # Errors
    /// The reason why there is no complete response. A panic of the handler is not an error, but a response with status
    /// 500.
    pub fn send(&mut self, request: Request) -> Result<Answer, Broken> {
        let request = routed(&self.routes, request);
        let body = request.body.bytes()?;
        let (first, mut rest) = body.split_at(body.len().min(MAX_CHUNK));
        self.stream += 1;
        let stream = self.stream;
        let mut out = Vec::new();
        let (codec, end) = (self.codec, rest.is_empty());
        let head = head(&request);
        let put = |out: &mut Vec<u8>| head.encode(codec, out);
        encode_head(&mut out, Kind::Request, stream, put, first, end)
            .map_err(|error| Broken::Protocol(error.to_string()))?;
        self.data.write_all(&out)?;
        let mut credit = INITIAL_CREDIT as usize;
        let mut answer: Option<Answer> = None;
        loop {
            let piece = rest.len().min(credit).min(MAX_CHUNK);
            if piece > 0 {
                let (bytes, after) = rest.split_at(piece);
                (rest, credit) = (after, credit - piece);
                let end = rest.is_empty();
                self.write(Data::Data { stream, bytes, end })?;
                continue;
            }
            let mut given = 0;
            let done = match self.receive(request.deadline())? {
                Received::Other => false,
                Received::Credit(of, more) if of == stream => {
                    credit += more;
                    false
                }
                Received::Head(of, head, end) if of == stream => {
                    answer = Some(head);
                    end
                }
                Received::Body(of, bytes, end) if of == stream => {
                    given = bytes.len();
                    let answer = answer.as_mut();
                    let answer = answer.ok_or_else(|| Broken::Protocol("DATA first".to_owned()))?;
                    answer.body.extend(bytes);
                    end
                }
                Received::Refused(of, why) if of == stream => return Err(Broken::Refused(why)),
                // A late frame for an earlier request.
                _ => false,
            };
            if done {
                if !rest.is_empty() {
                    let reason = CancelReason::Answered;
                    self.write(Data::Cancel { stream, reason })?;
                }
                return answer.ok_or_else(|| Broken::Protocol("no head".to_owned()));
            }
            if let Some(credit) = u32::try_from(given).ok().filter(|given| *given > 0) {
                self.write(Data::Window { stream, credit })?;
            }
        }
    }

    /// The lines that the worker has logged so far, each as `level: message`.
    ///
    /// # Errors
    /// The worker has ended, so it cannot confirm that there are no further lines.
    pub fn log(&mut self) -> Result<Vec<String>, Broken> {
        // The worker sends PONG after all lines that it has logged before.
        self.tell(Control::Ping { nonce: 0 }, None)?;
        while !matches!(self.step()?, Step::Pong) {}
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(said.clone())
    }

    fn step(&self) -> Result<Step, Broken> {
        let next = self.steps.recv_timeout(PATIENCE);
        next.map_err(|_| Broken::Ended)
    }

    /// Stops the worker as a platform does, and returns its exit status.
    ///
    /// # Errors
    /// The worker does not end in time.
    pub fn stop(mut self) -> Result<ExitStatus, Broken> {
        let deadline_ms = PATIENCE.as_millis() as u32;
        self.tell(Control::Stop { deadline_ms }, None)?;
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(Broken::Silent)
    }

    fn tell(&self, message: Control<'_>, descriptor: Option<OwnedFd>) -> io::Result<()> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let descriptor = descriptor.as_ref().map(AsFd::as_fd);
        let sent = hearth_sys::passing::send(self.control.as_fd(), &bytes, descriptor.as_slice())?;
        (&*self.control).write_all(&bytes[sent..])
    }

    fn write(&mut self, message: Data<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.data.write_all(&bytes)
    }

    /// The next message on the data socket.
    fn receive(&mut self, deadline: Instant) -> Result<Received, Broken> {
        loop {
            let next = self.buffer.next_frame();
            if let Some(frame) = next.map_err(|error| Broken::Protocol(error.to_string()))? {
                return Received::of(&frame, self.codec);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Broken::Silent);
            }
            self.data.set_read_timeout(Some(left))?;
            match self.data.read(self.buffer.room()) {
                Ok(0) => return Err(Broken::Ended),
                Ok(count) => self.buffer.filled(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(Broken::Ended);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A worker that has ended already is only reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A message from the data socket, with its stream.
enum Received {
    Head(u32, Answer, bool),
    Body(u32, Vec<u8>, bool),
    Credit(u32, usize),
    Refused(u32, String),
    Other,
}

impl Received {
    fn of(frame: &Frame<'_>, codec: Codec) -> Result<Received, Broken> {
        let broken = |error: &dyn std::fmt::Display| Broken::Protocol(error.to_string());
        Ok(match Data::parse(frame).map_err(|error| broken(&error))? {
            Data::Response {
                stream,
                head,
                body,
                end,
            } => {
                let head = ResponseHead::decode(codec, head).map_err(|error| broken(&error))?;
                let headers = head.headers.iter();
                let headers =
                    headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()));
                let answer = Answer {
                    status: head.status,
                    headers: headers.collect(),
                    body: body.to_vec(),
                };
                Received::Head(stream, answer, end)
            }
            Data::Data { stream, bytes, end } => Received::Body(stream, bytes.to_vec(), end),
            Data::Trailers { stream, .. } => Received::Body(stream, Vec::new(), true),
            Data::Window { stream, credit } => Received::Credit(stream, credit as usize),
            Data::Error { stream, reason, .. } => Received::Refused(stream, reason.to_owned()),
            Data::Goaway { .. } | Data::Unknown { .. } => Received::Other,
            Data::Request { .. } | Data::Message { .. } | Data::Cancel { .. } => {
                return Err(broken(&format_args!("{} from a worker", frame.kind.name())));
            }
        })
    }
}

fn head(request: &Request) -> RequestHead<'_> {
    let left = request.deadline().saturating_duration_since(Instant::now());
    let pair =
        |(name, value): (&'_ str, &'_ str)| (name.to_owned().into(), value.to_owned().into());
    RequestHead {
        id: request.id.as_str().into(),
        method: request.method.as_str().into(),
        path: request.path.as_str().into(),
        query: request.query.as_str().into(),
        route: request.route.as_str().into(),
        params: request.params.iter().map(pair).collect(),
        scheme: request.scheme.as_str().into(),
        host: request.host.as_str().into(),
        client: request.client.as_str().into(),
        headers: request.headers.iter().map(pair).collect(),
        deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        trace: None,
    }
}

/// Prints the output of the worker to the standard error of the test.
#[expect(clippy::print_stderr, reason = "a test has no other log")]
fn pass_on(from: OwnedFd) {
    std::thread::spawn(move || {
        for line in BufReader::new(File::from(from))
            .lines()
            .map_while(Result::ok)
        {
            eprintln!("{line}");
        }
    });
}

/// Reads the control socket until it closes: keeps log lines, resolves names, and passes all other messages on.
fn listen(control: Arc<UnixStream>, said: Arc<Mutex<Vec<String>>>) -> Receiver<Step> {
    let (sender, steps) = channel();
    std::thread::spawn(move || {
        let mut buffer = FrameBuffer::new(MAX_CONTROL_LEN, CONTROL_ROOM);
        let mut descriptors = Vec::new();
        let mut codec = Codec::Json;
        loop {
            let room = buffer.room();
            match hearth_sys::passing::receive(control.as_fd(), room, &mut descriptors) {
                Ok(0) | Err(_) => return,
                Ok(count) => buffer.filled(count),
            }
            while let Ok(Some(frame)) = buffer.next_frame() {
                let Ok(message) = Control::parse(&frame) else {
                    return;
                };
                hear(message, &mut codec, &sender, &said, &mut descriptors);
            }
        }
    });
    steps
}

fn hear(
    message: Control<'_>,
    codec: &mut Codec,
    steps: &Sender<Step>,
    said: &Mutex<Vec<String>>,
    descriptors: &mut Vec<OwnedFd>,
) {
    let step = match message {
        Control::Hello { codec: chosen, .. } => {
            *codec = chosen;
            Step::Hello(chosen)
        }
        Control::Ready => Step::Ready,
        Control::Pong { .. } => Step::Pong,
        Control::StartFailed { message } => Step::Failed(message.to_owned()),
        Control::Log { record } => {
            if let Ok(record) = codec.decode::<LogRecord<'_>>(record) {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                said.push(format!("{}: {}", record.level, record.message));
            }
            return;
        }
        Control::Resolve { host } if !descriptors.is_empty() => {
            let found = (host, 0).to_socket_addrs().map(|found| {
                let lines: Vec<String> = found.map(|one| one.ip().to_string()).collect();
                lines.join("\n")
            });
            let (found, text) = match found {
                Ok(lines) => (true, lines),
                Err(error) => (false, error.to_string()),
            };
            let mut bytes = Vec::new();
            Control::Resolved { found, text: &text }.encode(&mut bytes);
            // A worker that has ended needs no reply.
            let _ = UnixStream::from(descriptors.remove(0)).write_all(&bytes);
            return;
        }
        _ => return,
    };
    // Fails if the test has dropped the worker.
    let _ = steps.send(step);
}
