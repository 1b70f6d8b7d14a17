//! The start of every worker, whatever its style: HELLO, CONFIG, and the way to the supervisor.

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

/// The codec of the SDK's heads.
pub(crate) const CODEC: Codec = Codec::MessagePack;

/// Exit status of a worker that could not get to know its platform: a usage error.
const EXIT_USAGE: i32 = 2;

/// Why a worker cannot go on.
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

/// The control socket after the handshake, with what came behind CONFIG.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    pub(crate) stream: Arc<UnixStream>,
    pub(crate) buffer: FrameBuffer,
    /// Descriptors that came and wait for their ATTACH.
    pub(crate) descriptors: VecDeque<OwnedFd>,
}

/// What a control frame asks for, free of the buffer it came in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The next descriptor is a data socket of this thread of the gateway.
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

/// A process is one worker, so what it learned is kept once.
struct Met {
    config: Config,
    /// For sending, one message after the other; `None` where a function is tested.
    sender: Option<Mutex<Arc<UnixStream>>>,
    reader: Mutex<Option<ControlSocket>>,
}

static MET: OnceLock<Met> = OnceLock::new();

/// The handshake, at the first call; a program that was not started by a platform ends here.
fn met() -> &'static Met {
    MET.get_or_init(|| match meet() {
        Ok(met) => met,
        Err(error) => {
            report(&error);
            std::process::exit(EXIT_USAGE);
        }
    })
}

/// What the platform told this worker at its start.
pub(crate) fn config() -> &'static Config {
    &met().config
}

/// For tests of functions: as if a platform had told this. `false` if one has, or a test has before.
pub(crate) fn pretend(config: Config) -> bool {
    let met = Met {
        config,
        sender: None,
        reader: Mutex::new(None),
    };
    MET.set(met).is_ok()
}

/// Whether there is a platform, and it is known; otherwise this is a test, or nothing has begun yet.
pub(crate) fn is_real() -> bool {
    MET.get().is_some_and(|met| met.sender.is_some())
}

/// The socket to read from; whoever asks first gets it.
pub(crate) fn control_socket() -> Option<ControlSocket> {
    let mut reader = met().reader.lock().unwrap_or_else(PoisonError::into_inner);
    reader.take()
}

/// Sends a message to the supervisor. Waits where the socket is full.
///
/// # Errors
/// Those of the socket: the supervisor is gone.
pub(crate) fn tell(message: Control<'_>) -> io::Result<()> {
    tell_with(message, None)
}

/// As [`tell`], with a descriptor.
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
                // It goes with the first byte.
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
