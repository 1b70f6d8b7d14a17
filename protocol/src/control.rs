//! Messages on a worker's control socket, between the worker and the supervisor, as types.
//!
//! This module parses a [`Frame`] into a [`Control`]. The owner of the socket handles the descriptors that are passed
//! with ATTACH and RESOLVE.

use crate::data::{put, text};
use crate::frame::{Flags, Frame, FrameError, Kind};
use crate::head::Codec;

/// The first four bytes of HELLO.
pub const MAGIC: [u8; 4] = *b"HRTH";

/// One message of a control socket. All messages are on stream 0.
#[expect(missing_docs, reason = "each variant's sentence explains its fields")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// First message of the worker: `magic[4] | lowest u8 | highest u8 | codec u8 | 0`.
    Hello {
        lowest: u8,
        highest: u8,
        codec: Codec,
    },
    /// The supervisor's answer to HELLO: a [`crate::head::Config`] in the worker's codec.
    Config { config: &'a [u8] },
    /// From the worker: it has created its state and can serve requests.
    Ready,
    /// From the worker: it could not start, for the reason in `message`.
    StartFailed { message: &'a str },
    /// From the supervisor: the data socket of gateway thread `thread`, passed with the frame. It replaces an earlier
    /// socket of that thread.
    Attach { thread: u32 },
    /// From the worker: a [`crate::head::LogRecord`] in the worker's codec.
    Log { record: &'a [u8] },
    /// From either side: requests a PONG with the same number.
    Ping { nonce: u32 },
    /// From either side: the answer to PING.
    Pong { nonce: u32 },
    /// From the supervisor: finish the requests that have been started, then exit, within `deadline_ms`.
    Drain { deadline_ms: u32 },
    /// From the supervisor: exit within `deadline_ms`.
    Stop { deadline_ms: u32 },
    /// From the worker: requests the addresses of `host`, a host of one of its resources. The frame passes a socket,
    /// and the answer arrives on that socket.
    Resolve { host: &'a str },
    /// From the supervisor, on the socket of the query: if `found`, `text` contains the addresses, one per line;
    /// otherwise it contains the reason.
    Resolved { found: bool, text: &'a str },
    /// A kind that this version does not know. It is ignored.
    Unknown { kind: u8 },
}

impl<'a> Control<'a> {
    /// Interprets a frame of a control socket.
    pub fn parse(frame: &Frame<'a>) -> Result<Control<'a>, FrameError> {
        frame.refuse_unknown_extensions()?;
        let name = frame.kind.name();
        let malformed = |what| FrameError::Malformed { kind: name, what };
        if frame.stream != 0 {
            return Err(malformed("control frames belong on slot 0"));
        }
        Ok(match frame.kind {
            Kind::Hello => parse_hello(frame.payload).map_err(malformed)?,
            Kind::Config => Control::Config {
                config: frame.payload,
            },
            Kind::Ready => Control::Ready,
            Kind::StartFailed => Control::StartFailed {
                message: text(frame.payload).ok_or(malformed("message is not UTF-8"))?,
            },
            Kind::Attach => Control::Attach { thread: frame.aux },
            Kind::Log => Control::Log {
                record: frame.payload,
            },
            Kind::Ping => Control::Ping { nonce: frame.aux },
            Kind::Pong => Control::Pong { nonce: frame.aux },
            Kind::Drain => Control::Drain {
                deadline_ms: frame.aux,
            },
            Kind::Stop => Control::Stop {
                deadline_ms: frame.aux,
            },
            Kind::Resolve => Control::Resolve {
                host: text(frame.payload).ok_or(malformed("host is not UTF-8"))?,
            },
            Kind::Resolved => Control::Resolved {
                found: frame.aux == 0,
                text: text(frame.payload).ok_or(malformed("answer is not UTF-8"))?,
            },
            Kind::Unknown(kind) => Control::Unknown { kind },
            Kind::Request
            | Kind::Response
            | Kind::Data
            | Kind::Trailers
            | Kind::Window
            | Kind::Message
            | Kind::Cancel
            | Kind::Error
            | Kind::Goaway
            | Kind::Certificates
            | Kind::WorkerAdd
            | Kind::WorkerDrop
            | Kind::Snapshot
            | Kind::Ack
            | Kind::WorkerLost
            | Kind::Stats
            | Kind::Pressure
            | Kind::Unavailable
            | Kind::Probe
            | Kind::Health => return Err(FrameError::Misplaced(name)),
        })
    }

    /// Appends the message as one frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |kind, aux, payload: &[u8]| put(out, kind, 0, Flags::NONE, aux, payload);
        match *self {
            Control::Hello {
                lowest,
                highest,
                codec,
            } => {
                let [a, b, c, d] = MAGIC;
                put(
                    Kind::Hello,
                    0,
                    &[a, b, c, d, lowest, highest, codec.number(), 0],
                );
            }
            Control::Config { config } => put(Kind::Config, 0, config),
            Control::Ready => put(Kind::Ready, 0, &[]),
            Control::StartFailed { message } => put(Kind::StartFailed, 0, message.as_bytes()),
            Control::Attach { thread } => put(Kind::Attach, thread, &[]),
            Control::Log { record } => put(Kind::Log, 0, record),
            Control::Ping { nonce } => put(Kind::Ping, nonce, &[]),
            Control::Pong { nonce } => put(Kind::Pong, nonce, &[]),
            Control::Drain { deadline_ms } => put(Kind::Drain, deadline_ms, &[]),
            Control::Stop { deadline_ms } => put(Kind::Stop, deadline_ms, &[]),
            Control::Resolve { host } => put(Kind::Resolve, 0, host.as_bytes()),
            Control::Resolved { found, text } => {
                put(Kind::Resolved, u32::from(!found), text.as_bytes());
            }
            Control::Unknown { kind } => put(Kind::Unknown(kind), 0, &[]),
        }
    }
}

fn parse_hello(payload: &[u8]) -> Result<Control<'static>, &'static str> {
    // Longer payloads are allowed: a later version may add fields at the end.
    let Some((&[a, b, c, d, lowest, highest, codec, _], _)) = payload.split_first_chunk::<8>()
    else {
        return Err("shorter than 8 bytes");
    };
    if [a, b, c, d] != MAGIC {
        return Err("does not start with HRTH");
    }
    if lowest > highest {
        return Err("lowest version is above the highest");
    }
    let codec = Codec::from_number(codec).ok_or("unknown codec")?;
    Ok(Control::Hello {
        lowest,
        highest,
        codec,
    })
}
