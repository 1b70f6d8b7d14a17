//! The handshake of every worker, blocking or asynchronous: sends HELLO, receives CONFIG, and keeps the control socket
//! to the supervisor.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hearth_protocol::control::Control;
use hearth_protocol::frame::FrameError;
use hearth_protocol::head::{Config, HeadError};
use hearth_protocol::{CONTROL_ROOM, Codec, FrameBuffer, MAX_CONTROL_LEN, VERSION};
use hearth_sys::wait::{Waiting, wait};

use crate::causes::with_causes;

/// The codec in which the SDK reads and writes heads.
pub(crate) const CODEC: Codec = Codec::MessagePack;

/// Exit status of a worker whose handshake failed. The value is that of a usage error.
const EXIT_USAGE: i32 = 2;

/// Why the handshake failed.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
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

/// The control socket after the handshake, with the bytes and descriptors that arrived after CONFIG.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    pub(crate) stream: Arc<UnixStream>,
    pub(crate) buffer: FrameBuffer,
    /// Descriptors that have arrived before their ATTACH frame was processed.
    pub(crate) descriptors: VecDeque<OwnedFd>,
}

/// What a control frame requests. Does not borrow from the buffer of the frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The next descriptor is the data socket to this thread of the gateway.
    Attach(u32),
    Pong(u32),
    Drain(Instant),
    Stop(Instant),
    Nothing,
}

impl Step {
    pub(crate) fn of(message: Control<'_>) -> Step {
        let within = |millis: u32| Instant::now() + Duration::from_millis(millis.into());
        match message {
            Control::Attach { thread } => Step::Attach(thread),
            Control::Ping { nonce } => Step::Pong(nonce),
            Control::Drain { deadline_ms } => Step::Drain(within(deadline_ms)),
            Control::Stop { deadline_ms } => Step::Stop(within(deadline_ms)),
            Control::Pong { .. } | Control::Unknown { .. } => Step::Nothing,
            Control::Hello { .. }
            | Control::Config { .. }
            | Control::Ready
            | Control::StartFailed { .. }
            | Control::Log { .. }
            | Control::Resolve { .. }
            | Control::Resolved { .. } => Step::Stop(Instant::now()),
        }
    }
}

/// The result of the handshake. A process is one worker, so there is one for the whole process.
struct Met {
    config: Config,
    /// The lock keeps messages to the supervisor from interleaving. `None` in the tests of a function.
    sender: Option<Mutex<Arc<UnixStream>>>,
    reader: Mutex<Option<ControlSocket>>,
}

static MET: OnceLock<Met> = OnceLock::new();

/// Performs the handshake at the first call. If it fails, for example because no platform started the program, reports
/// the error and exits the process.
fn met() -> &'static Met {
    MET.get_or_init(|| match meet() {
        Ok(met) => met,
        Err(error) => {
            report(&error);
            std::process::exit(EXIT_USAGE);
        }
    })
}

/// The contents of the CONFIG frame that the platform sent at the start.
pub(crate) fn config() -> &'static Config {
    &met().config
}

/// Sets the configuration without a platform, for tests of functions. Returns `false` if the process has a
/// configuration already.
pub(crate) fn pretend(config: Config) -> bool {
    let met = Met {
        config,
        sender: None,
        reader: Mutex::new(None),
    };
    MET.set(met).is_ok()
}

/// Whether the handshake with a platform is complete. `false` in tests of functions, and before the handshake.
pub(crate) fn is_real() -> bool {
    MET.get().is_some_and(|met| met.sender.is_some())
}

/// Takes the control socket for reading. Only the first call returns it.
pub(crate) fn control_socket() -> Option<ControlSocket> {
    let mut reader = met().reader.lock().unwrap_or_else(PoisonError::into_inner);
    reader.take()
}

/// Sends a message to the supervisor. Blocks while the socket is full. Does nothing in tests of functions.
///
/// # Errors
/// An error of the socket: the supervisor has ended.
pub(crate) fn tell(message: Control<'_>) -> io::Result<()> {
    tell_with(message, None)
}

/// Like [`tell`], and passes a descriptor with the message.
///
/// # Errors
/// As [`tell`].
pub(crate) fn tell_with(
    message: Control<'_>,
    mut descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    let Some(sender) = &met().sender else {
        return Ok(());
    };
    let stream = sender.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        match hearth_sys::passing::send(stream.as_fd(), rest, descriptor.as_slice()) {
            Ok(count) => {
                rest = &rest[count..];
                // The kernel passes the descriptor with the first byte.
                descriptor = None;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(&mut [Waiting::write(stream.as_fd())], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn meet() -> Result<Met, HandshakeError> {
    let stream = hearth_sys::inherit::take_unix_stream(hearth_sys::inherit::FIRST)
        .map_err(HandshakeError::NotStartedByHearth)?;
    let mut hello = Vec::new();
    Control::Hello {
        lowest: VERSION,
        highest: VERSION,
        codec: CODEC,
    }
    .encode(&mut hello);
    (&stream)
        .write_all(&hello)
        .map_err(HandshakeError::Control)?;

    let mut buffer = FrameBuffer::new(MAX_CONTROL_LEN, CONTROL_ROOM);
    let mut descriptors = Vec::new();
    let config = loop {
        if let Some(frame) = buffer.next_frame()? {
            match Control::parse(&frame)? {
                Control::Config { config } => {
                    break Config::decode(CODEC, config).map_err(HandshakeError::Config)?;
                }
                _ => return Err(HandshakeError::Unexpected(frame.kind.name())),
            }
        }
        let room = buffer.room();
        match hearth_sys::passing::receive(stream.as_fd(), room, &mut descriptors) {
            Ok(0) => return Err(HandshakeError::NoConfig),
            Ok(count) => buffer.filled(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(HandshakeError::Control(error)),
        }
    };
    if config.version != VERSION {
        return Err(HandshakeError::Version(config.version));
    }
    let stream = Arc::new(stream);
    Ok(Met {
        config,
        sender: Some(Mutex::new(Arc::clone(&stream))),
        reader: Mutex::new(Some(ControlSocket {
            stream,
            buffer,
            descriptors: descriptors.into(),
        })),
    })
}

#[expect(
    clippy::print_stderr,
    reason = "without a platform there is nowhere else to say it"
)]
fn report(error: &dyn std::error::Error) {
    eprintln!("{}", with_causes(error));
}
