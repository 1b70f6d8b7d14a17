//! What travels on a data socket between gateway and worker, as types.
//!
//! Parses a [`Frame`] into a [`Data`] whose fields are known to make sense on their own. Whether a
//! message fits the state of its stream is for the two ends to judge.

use crate::frame::{Flags, Frame, FrameError, Kind, OpenFrame};
use crate::head::HeadError;

/// One message of a data socket.
#[expect(missing_docs, reason = "each variant's sentence explains its fields")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Gateway to worker: opens `stream`. `aux` is the head's length; the body's first bytes follow it.
    Request {
        stream: u32,
        head: &'a [u8],
        body: &'a [u8],
        end: bool,
    },
    /// Worker to gateway: the answer's head, laid out like a request.
    Response {
        stream: u32,
        head: &'a [u8],
        body: &'a [u8],
        end: bool,
    },
    /// Either way: bytes of a body, counted against the stream's credit.
    Data {
        stream: u32,
        bytes: &'a [u8],
        end: bool,
    },
    /// Either way: trailing fields (a list of pairs in the connection's codec); ends its direction.
    Trailers { stream: u32, fields: &'a [u8] },
    /// Either way: the receiver of a body gives `credit` more bytes.
    Window { stream: u32, credit: u32 },
    /// Either way: a WebSocket message, counted like DATA.
    Message {
        stream: u32,
        opcode: Opcode,
        bytes: &'a [u8],
        end: bool,
    },
    /// Gateway to worker: the answer is no longer wanted. The worker still ends its direction.
    Cancel { stream: u32, reason: CancelReason },
    /// Ends the stream both ways; on stream 0 the whole connection.
    Error {
        stream: u32,
        code: ErrorCode,
        retry_safe: bool,
        reason: &'a str,
    },
    /// Worker to gateway: no more requests; `not_started` are closed and may be sent elsewhere.
    Goaway { not_started: Slots<'a> },
    /// A kind this version does not know: ignored on stream 0, resets any other stream.
    Unknown { stream: u32, kind: u8 },
}

/// WebSocket opcodes (RFC 6455, section 11.8) that a MESSAGE carries in `aux`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
    /// A close with its status code and reason as the payload.
    Close,
}

/// Declares enums that travel as a number in `aux`, with a catch-all for later numbers.
macro_rules! numbered {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A number of a later version.
            Other(u32),
        }

        impl $name {
            /// From `aux`.
            pub fn from_number(number: u32) -> Self {
                match number {
                    $($number => $name::$variant,)*
                    other => $name::Other(other),
                }
            }

            /// For `aux`.
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
    /// Why the gateway cancels.
    CancelReason {
        /// The client went away.
        ClientGone = 1,
        /// The function's timeout passed.
        Timeout = 2,
        /// The request's body broke a limit or stopped coming.
        BodyFailed = 3,
        /// The worker answered in full without reading the whole body.
        Answered = 4,
    }
}

numbered! {
    /// What kind of ERROR.
    ErrorCode {
        /// The peer broke the rules of the wire.
        Protocol = 1,
        /// The sender failed inside.
        Internal = 2,
        /// The stream was cancelled by the peer.
        Cancelled = 3,
        /// Not started; combined with the retry-safe flag.
        Refused = 4,
        /// More bytes than there was credit for.
        Credit = 5,
        /// A kind or extension that is not known.
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

/// Slot numbers as GOAWAY lists them: little-endian u32 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots<'a>(&'a [u8]);

impl<'a> Slots<'a> {
    /// From the payload; its length must be a multiple of four.
    pub fn check(bytes: &'a [u8]) -> Option<Slots<'a>> {
        bytes.len().is_multiple_of(4).then_some(Slots(bytes))
    }

    /// The slots in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0
            .chunks_exact(4)
            .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
    }
}

impl<'a> Data<'a> {
    /// Gives the frame its meaning on a data socket.
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

/// Appends a REQUEST or RESPONSE whose head `head` writes straight into `out`.
///
/// On failure `out` is as it was before.
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

/// Appends a GOAWAY that lists `slots`.
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
