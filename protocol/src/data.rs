//! Messages on a data socket between gateway and worker, as types.
//!
//! This module parses a [`Frame`] into a [`Data`] whose fields are valid by themselves. The two ends decide whether a
//! message is allowed in the state of its stream.

use crate::frame::{Flags, Frame, FrameError, Kind, OpenFrame};
use crate::head::HeadError;

/// One message of a data socket.
#[expect(missing_docs, reason = "each variant's sentence explains its fields")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Gateway to worker: opens `stream`. `aux` is the length of the head; the first bytes of the body follow the head.
    Request {
        stream: u32,
        head: &'a [u8],
        body: &'a [u8],
        end: bool,
    },
    /// Worker to gateway: the head of the response, with the layout of a request.
    Response {
        stream: u32,
        head: &'a [u8],
        body: &'a [u8],
        end: bool,
    },
    /// Either direction: bytes of a body, which consume credit of the stream.
    Data {
        stream: u32,
        bytes: &'a [u8],
        end: bool,
    },
    /// Either direction: trailers (a list of pairs in the connection's codec). They end the sender's direction.
    Trailers { stream: u32, fields: &'a [u8] },
    /// Either direction: the receiver of a body gives the sender `credit` more bytes.
    Window { stream: u32, credit: u32 },
    /// Either direction: a WebSocket message, which consumes credit like DATA.
    Message {
        stream: u32,
        opcode: Opcode,
        bytes: &'a [u8],
        end: bool,
    },
    /// Gateway to worker: the gateway no longer needs the response. The worker still ends its direction.
    Cancel { stream: u32, reason: CancelReason },
    /// Ends both directions of the stream. On stream 0, ends the whole connection.
    Error {
        stream: u32,
        code: ErrorCode,
        retry_safe: bool,
        reason: &'a str,
    },
    /// Worker to gateway: the worker takes no more requests. The streams in `not_started` are closed, and their
    /// requests may be sent to another worker.
    Goaway { not_started: Slots<'a> },
    /// A kind that this version does not know. It is ignored on stream 0, and ends any other stream.
    Unknown { stream: u32, kind: u8 },
}

/// WebSocket opcodes (RFC 6455, section 11.8) that a MESSAGE carries in `aux`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
    /// A close, with its status code and reason as the payload.
    Close,
}

/// Declares an enum that is transferred as a number in `aux`, with a variant for the numbers of later versions.
macro_rules! numbered {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A number that this version does not know.
            Other(u32),
        }

        impl $name {
            /// Converts the number in `aux`.
            pub fn from_number(number: u32) -> Self {
                match number {
                    $($number => $name::$variant,)*
                    other => $name::Other(other),
                }
            }

            /// The number for `aux`.
            pub fn number(self) -> u32 {
                match self {
                    $($name::$variant => $number,)*
                    $name::Other(number) => number,
                }
            }
        }
    };
}

numbered! {
    /// Why the gateway cancels a stream.
    CancelReason {
        /// The client disconnected.
        ClientGone = 1,
        /// The function's timeout passed.
        Timeout = 2,
        /// The request's body exceeded a limit, stalled or broke off.
        BodyFailed = 3,
        /// The worker sent its complete response before it read the whole body.
        Answered = 4,
    }
}

numbered! {
    /// The cause of an ERROR.
    ErrorCode {
        /// The peer broke the rules of the protocol.
        Protocol = 1,
        /// The sender had an internal error.
        Internal = 2,
        /// The peer cancelled the stream.
        Cancelled = 3,
        /// The request was not started. Sent with the flag RETRY_SAFE.
        Refused = 4,
        /// The peer sent more bytes than it had credit for.
        Credit = 5,
        /// A kind of frame or an extension is not supported.
        Unsupported = 6,
    }
}

impl Opcode {
    fn from_number(number: u32) -> Option<Opcode> {
        match number {
            1 => Some(Opcode::Text),
            2 => Some(Opcode::Binary),
            8 => Some(Opcode::Close),
            _ => None,
        }
    }

    fn number(self) -> u32 {
        match self {
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
        }
    }
}

/// The stream numbers in a GOAWAY: one little-endian u32 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots<'a>(&'a [u8]);

impl<'a> Slots<'a> {
    /// Validates a payload. Its length must be a multiple of four.
    pub fn check(bytes: &'a [u8]) -> Option<Slots<'a>> {
        bytes.len().is_multiple_of(4).then_some(Slots(bytes))
    }

    /// The stream numbers in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0
            .chunks_exact(4)
            .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
    }
}

impl<'a> Data<'a> {
    /// Interprets a frame of a data socket.
    pub fn parse(frame: &Frame<'a>) -> Result<Data<'a>, FrameError> {
        frame.refuse_unknown_extensions()?;
        let name = frame.kind.name();
        let malformed = |what| FrameError::Malformed { kind: name, what };
        let stream = frame.stream;
        let on_stream = || {
            if stream == 0 {
                Err(malformed("needs a stream, has slot 0"))
            } else {
                Ok(())
            }
        };
        let end = frame.flags.contains(Flags::END_STREAM);
        let head_and_body = || {
            usize::try_from(frame.aux)
                .ok()
                .and_then(|len| frame.payload.split_at_checked(len))
                .ok_or(malformed("head is longer than the payload"))
        };
        Ok(match frame.kind {
            Kind::Request => {
                on_stream()?;
                let (head, body) = head_and_body()?;
                Data::Request {
                    stream,
                    head,
                    body,
                    end,
                }
            }
            Kind::Response => {
                on_stream()?;
                let (head, body) = head_and_body()?;
                Data::Response {
                    stream,
                    head,
                    body,
                    end,
                }
            }
            Kind::Data => {
                on_stream()?;
                Data::Data {
                    stream,
                    bytes: frame.payload,
                    end,
                }
            }
            Kind::Trailers => {
                on_stream()?;
                Data::Trailers {
                    stream,
                    fields: frame.payload,
                }
            }
            Kind::Window => {
                on_stream()?;
                if frame.aux == 0 {
                    return Err(malformed("gives no credit"));
                }
                Data::Window {
                    stream,
                    credit: frame.aux,
                }
            }
            Kind::Message => {
                on_stream()?;
                let opcode = Opcode::from_number(frame.aux).ok_or(malformed("unknown opcode"))?;
                Data::Message {
                    stream,
                    opcode,
                    bytes: frame.payload,
                    end,
                }
            }
            Kind::Cancel => {
                on_stream()?;
                Data::Cancel {
                    stream,
                    reason: CancelReason::from_number(frame.aux),
                }
            }
            Kind::Error => Data::Error {
                stream,
                code: ErrorCode::from_number(frame.aux),
                retry_safe: frame.flags.contains(Flags::RETRY_SAFE),
                reason: text(frame.payload).ok_or(malformed("reason is not UTF-8"))?,
            },
            Kind::Goaway => {
                if stream != 0 {
                    return Err(malformed("belongs on slot 0"));
                }
                let not_started = Slots::check(frame.payload)
                    .ok_or(malformed("list of slots is not a multiple of 4 bytes"))?;
                Data::Goaway { not_started }
            }
            Kind::Unknown(kind) => Data::Unknown { stream, kind },
            Kind::Hello
            | Kind::Config
            | Kind::Ready
            | Kind::StartFailed
            | Kind::Attach
            | Kind::Log
            | Kind::Ping
            | Kind::Pong
            | Kind::Drain
            | Kind::Stop
            | Kind::Resolve
            | Kind::Resolved
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
        match *self {
            Data::Request {
                stream,
                head,
                body,
                end,
            } => {
                put_head(out, Kind::Request, stream, head, body, end);
            }
            Data::Response {
                stream,
                head,
                body,
                end,
            } => {
                put_head(out, Kind::Response, stream, head, body, end);
            }
            Data::Data { stream, bytes, end } => {
                put(
                    out,
                    Kind::Data,
                    stream,
                    Flags::when(end, Flags::END_STREAM),
                    0,
                    bytes,
                );
            }
            Data::Trailers { stream, fields } => {
                put(out, Kind::Trailers, stream, Flags::END_STREAM, 0, fields);
            }
            Data::Window { stream, credit } => {
                put(out, Kind::Window, stream, Flags::NONE, credit, &[]);
            }
            Data::Message {
                stream,
                opcode,
                bytes,
                end,
            } => {
                let flags = Flags::when(end, Flags::END_STREAM);
                put(out, Kind::Message, stream, flags, opcode.number(), bytes);
            }
            Data::Cancel { stream, reason } => {
                put(out, Kind::Cancel, stream, Flags::NONE, reason.number(), &[]);
            }
            Data::Error {
                stream,
                code,
                retry_safe,
                reason,
            } => {
                let flags = Flags::when(retry_safe, Flags::RETRY_SAFE);
                put(
                    out,
                    Kind::Error,
                    stream,
                    flags,
                    code.number(),
                    reason.as_bytes(),
                );
            }
            Data::Goaway { not_started } => {
                put(out, Kind::Goaway, 0, Flags::NONE, 0, not_started.0);
            }
            Data::Unknown { stream, kind } => {
                put(out, Kind::Unknown(kind), stream, Flags::NONE, 0, &[]);
            }
        }
    }
}

/// Appends a REQUEST or RESPONSE. The function `head` writes the head directly into `out`.
///
/// On an error, `out` is unchanged.
pub fn encode_head(
    out: &mut Vec<u8>,
    kind: Kind,
    stream: u32,
    head: impl FnOnce(&mut Vec<u8>) -> Result<(), HeadError>,
    body: &[u8],
    end: bool,
) -> Result<(), HeadError> {
    let open = OpenFrame::begin(out, kind, stream);
    if let Err(error) = head(out) {
        open.abandon(out);
        return Err(error);
    }
    let head_len = open.written(out);
    if head_len + body.len() > crate::MAX_DATA_LEN as usize {
        open.abandon(out);
        return Err(HeadError::TooLong {
            len: head_len + body.len(),
        });
    }
    out.extend_from_slice(body);
    open.finish(out, Flags::when(end, Flags::END_STREAM), head_len as u32);
    Ok(())
}

/// Appends a GOAWAY that lists the streams `slots`.
pub fn encode_goaway(out: &mut Vec<u8>, slots: impl IntoIterator<Item = u32>) {
    let open = OpenFrame::begin(out, Kind::Goaway, 0);
    for slot in slots {
        out.extend_from_slice(&slot.to_le_bytes());
    }
    open.finish(out, Flags::NONE, 0);
}

fn put_head(out: &mut Vec<u8>, kind: Kind, stream: u32, head: &[u8], body: &[u8], end: bool) {
    let open = OpenFrame::begin(out, kind, stream);
    out.extend_from_slice(head);
    out.extend_from_slice(body);
    open.finish(out, Flags::when(end, Flags::END_STREAM), head.len() as u32);
}

pub(crate) fn put(
    out: &mut Vec<u8>,
    kind: Kind,
    stream: u32,
    flags: Flags,
    aux: u32,
    payload: &[u8],
) {
    let open = OpenFrame::begin(out, kind, stream);
    out.extend_from_slice(payload);
    open.finish(out, flags, aux);
}

pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
