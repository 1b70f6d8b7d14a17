//! The frame: a fixed little-endian header of 16 bytes, extensions and payload. Pure functions over bytes.
//!
//! This module refuses only what breaks the framing. [`crate::control`] and [`crate::data`] interpret each kind.

/// Length of the fixed header in bytes.
pub const HEADER_LEN: usize = 16;

/// Declares all kinds in one place, with their numbers, their names and the conversions.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// The kind of a frame. Numbers below 32 belong to control sockets, numbers from 32 to data sockets, and
        /// numbers from 64 to the socket between supervisor and gateway, which is not part of the public protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
            /// A kind that this version does not know.
            Unknown(u8),
        }

        impl Kind {
            /// All kinds of this version.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            /// Converts a number on the wire.
            pub fn from_number(number: u8) -> Kind {
                match number {
                    $($number => Kind::$name,)*
                    other => Kind::Unknown(other),
                }
            }

            /// The number on the wire.
            pub fn number(self) -> u8 {
                match self {
                    $(Kind::$name => $number,)*
                    Kind::Unknown(number) => number,
                }
            }

            /// The name that the documentation uses.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$name => $text,)*
                    Kind::Unknown(_) => "UNKNOWN",
                }
            }
        }
    };
}

kinds! {
    /// The worker's first frame on its control socket.
    Hello = 1, "HELLO";
    /// The supervisor's answer to HELLO.
    Config = 2, "CONFIG";
    /// The worker has created its state and can receive data sockets.
    Ready = 3, "READY";
    /// The worker could not start; the payload is the reason.
    StartFailed = 4, "START_FAILED";
    /// A data socket for the worker, passed with the frame.
    Attach = 5, "ATTACH";
    /// A log record of the worker.
    Log = 6, "LOG";
    /// Requests a PONG.
    Ping = 7, "PING";
    /// The answer to PING.
    Pong = 8, "PONG";
    /// The worker finishes the requests that it has started, and exits.
    Drain = 9, "DRAIN";
    /// The worker exits.
    Stop = 10, "STOP";
    /// Requests the addresses of a resource's host. The frame passes a socket, and the answer arrives on it.
    Resolve = 11, "RESOLVE";
    /// The addresses, or the reason why there are none.
    Resolved = 12, "RESOLVED";
    /// Opens a stream with the head of a request.
    Request = 32, "REQUEST";
    /// The head of a response.
    Response = 33, "RESPONSE";
    /// Bytes of a body.
    Data = 34, "DATA";
    /// Trailers. They end the sender's direction of the stream.
    Trailers = 35, "TRAILERS";
    /// Gives credit for further DATA or MESSAGE bytes.
    Window = 36, "WINDOW";
    /// A WebSocket message.
    Message = 37, "MESSAGE";
    /// The gateway no longer needs the response.
    Cancel = 38, "CANCEL";
    /// Ends a stream, or on stream 0 the connection, with a reason.
    Error = 39, "ERROR";
    /// The worker takes no more requests, and lists the streams that it did not start.
    Goaway = 40, "GOAWAY";
    /// Supervisor to gateway: certificates and keys, in a sealed memory file that is passed with the frame.
    Certificates = 64, "CERTIFICATES";
    /// Supervisor to gateway: a worker, and its data sockets, which are passed with the frame.
    WorkerAdd = 65, "WORKER_ADD";
    /// Supervisor to gateway: a worker gets no more requests.
    WorkerDrop = 66, "WORKER_DROP";
    /// Supervisor to gateway: what to serve from now on.
    Snapshot = 67, "SNAPSHOT";
    /// Gateway to supervisor: the gateway serves a snapshot.
    Ack = 68, "ACK";
    /// Gateway to supervisor: a worker's data socket has ended.
    WorkerLost = 69, "WORKER_LOST";
    /// Gateway to supervisor: the counts of the last second.
    Stats = 70, "STATS";
    /// Gateway to supervisor: the load of a function that scales.
    Pressure = 71, "PRESSURE";
    /// Supervisor to gateway: a function cannot be started, or its requests may wait for a worker again.
    Unavailable = 72, "UNAVAILABLE";
    /// Supervisor to gateway: check the health of a worker.
    Probe = 73, "PROBE";
    /// Gateway to supervisor: the result of a probe.
    Health = 74, "HEALTH";
}

/// The flag bits of a frame. Receivers ignore unknown bits, and senders send them as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// The sender's direction of the stream ends with this frame.
    pub const END_STREAM: Flags = Flags(1);
    /// On ERROR: the request was not started, so it may be sent to another worker.
    pub const RETRY_SAFE: Flags = Flags(2);

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns `flag` if `on` is set, otherwise no flag.
    pub fn when(on: bool, flag: Flags) -> Flags {
        if on { flag } else { Flags::NONE }
    }
}

/// One frame. Its extensions and payload are borrowed from the bytes that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The stream, or 0 for the connection itself.
    pub stream: u32,
    /// The kind of the frame.
    pub kind: Kind,
    /// Flag bits.
    pub flags: Flags,
    /// A number whose meaning depends on the kind.
    pub aux: u32,
    /// Type-length-value extensions, already validated.
    pub extensions: Extensions<'a>,
    /// The bytes after the extensions.
    pub payload: &'a [u8],
}

/// Why bytes are not a valid frame. After any of these errors, the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// `len` is larger than this socket allows.
    #[error("frame of {len} bytes after its header, at most {max} are allowed")]
    TooLong {
        /// The length in the header.
        len: u32,
        /// The longest length allowed.
        max: u32,
    },
    /// `ext_len` is larger than `len`.
    #[error("{ext_len} bytes of extensions in a frame of {len}")]
    ExtensionsBeyondFrame {
        /// Length of the extensions in the header.
        ext_len: u16,
        /// Number of bytes after the header.
        len: u32,
    },
    /// The length of an extension reaches beyond the end of the extensions.
    #[error("extension cut off at byte {at} of the extensions")]
    ExtensionCutOff {
        /// Offset of that extension.
        at: usize,
    },
    /// A critical extension is unknown.
    #[error("extension {0:#06x} must be understood and is not")]
    UnknownCriticalExtension(u16),
    /// A frame of a known kind whose fields contradict its kind.
    #[error("{kind} frame: {what}")]
    Malformed {
        /// The name of the kind.
        kind: &'static str,
        /// What is wrong with the frame.
        what: &'static str,
    },
    /// This kind of socket or this direction does not carry such a frame.
    #[error("{0} frame where none is allowed")]
    Misplaced(&'static str),
}

impl<'a> Frame<'a> {
    /// Decodes the frame at the start of `bytes`.
    ///
    /// Returns the frame and the number of bytes that it occupies, or `None` if more bytes are needed. A `len` above
    /// `max_len` is refused as soon as the header has arrived, so that a caller never reserves memory for it.
    pub fn decode(bytes: &'a [u8], max_len: u32) -> Result<Option<(Frame<'a>, usize)>, FrameError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let u32_at = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let len = u32_at(0);
        let ext_len = u16::from_le_bytes([header[10], header[11]]);
        if len > max_len {
            return Err(FrameError::TooLong { len, max: max_len });
        }
        if u32::from(ext_len) > len {
            return Err(FrameError::ExtensionsBeyondFrame { ext_len, len });
        }
        let Some(body) = rest.get(..len as usize) else {
            return Ok(None);
        };
        let (extensions, payload) = body.split_at(usize::from(ext_len));
        let frame = Frame {
            stream: u32_at(4),
            kind: Kind::from_number(header[8]),
            flags: Flags(header[9]),
            aux: u32_at(12),
            extensions: Extensions::check(extensions)?,
            payload,
        };
        Ok(Some((frame, HEADER_LEN + len as usize)))
    }

    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// If a part is longer than its length field in the header can express. Senders keep to [`crate::MAX_CONTROL_LEN`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let open = OpenFrame::begin(out, self.kind, self.stream);
        out.extend_from_slice(self.extensions.0);
        out.extend_from_slice(self.payload);
        open.finish_with_extensions(out, self.flags, self.aux, self.extensions.0.len());
    }

    /// Length of the encoded frame in bytes.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.extensions.0.len() + self.payload.len()
    }

    /// Fails if the frame carries a critical extension: one that a receiver must refuse if it does not know it. Version
    /// 1 defines no extensions, so every critical extension is unknown.
    pub fn refuse_unknown_extensions(&self) -> Result<(), FrameError> {
        match self.extensions.iter().find(|ext| ext.is_critical()) {
            Some(ext) => Err(FrameError::UnknownCriticalExtension(ext.kind)),
            None => Ok(()),
        }
    }
}

/// A frame that is being written directly into its buffer. Space is reserved for its header, which is written when the
/// length of the payload is known.
#[must_use = "a frame that is not finished has no header"]
pub struct OpenFrame {
    start: usize,
    kind: Kind,
    stream: u32,
}

impl OpenFrame {
    /// Reserves space for a header at the end of `out`. The caller then appends the payload and calls
    /// [`OpenFrame::finish`].
    pub fn begin(out: &mut Vec<u8>, kind: Kind, stream: u32) -> OpenFrame {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        OpenFrame {
            start,
            kind,
            stream,
        }
    }

    /// Number of bytes written after the header so far.
    pub fn written(&self, out: &[u8]) -> usize {
        out.len() - self.start - HEADER_LEN
    }

    /// Writes the header of a frame without extensions.
    pub fn finish(self, out: &mut [u8], flags: Flags, aux: u32) {
        self.finish_with_extensions(out, flags, aux, 0);
    }

    /// Removes the unfinished frame from `out`.
    pub fn abandon(self, out: &mut Vec<u8>) {
        out.truncate(self.start);
    }

    fn finish_with_extensions(self, out: &mut [u8], flags: Flags, aux: u32, ext_len: usize) {
        let len = u32::try_from(self.written(out)).expect("a sender keeps frames below 4 GiB");
        let ext_len = u16::try_from(ext_len).expect("a sender keeps extensions below 64 KiB");
        let header = &mut out[self.start..self.start + HEADER_LEN];
        header[0..4].copy_from_slice(&len.to_le_bytes());
        header[4..8].copy_from_slice(&self.stream.to_le_bytes());
        header[8] = self.kind.number();
        header[9] = flags.0;
        header[10..12].copy_from_slice(&ext_len.to_le_bytes());
        header[12..16].copy_from_slice(&aux.to_le_bytes());
    }
}

/// The extensions of a frame, already validated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions<'a>(&'a [u8]);

/// One extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// The type. The high bit marks a critical extension.
    pub kind: u16,
    /// The value.
    pub value: &'a [u8],
}

impl Extension<'_> {
    /// Whether a receiver must refuse the frame if it does not know the extension.
    pub fn is_critical(&self) -> bool {
        self.kind & 0x8000 != 0
    }
}

impl<'a> Extensions<'a> {
    /// No extensions.
    pub const NONE: Extensions<'static> = Extensions(&[]);

    /// Validates that `bytes` are a sequence of `type u16 | len u16 | value`.
    pub fn check(bytes: &'a [u8]) -> Result<Extensions<'a>, FrameError> {
        let mut at = 0;
        while at < bytes.len() {
            at = match split_extension(&bytes[at..]) {
                Some((ext, _)) => at + 4 + ext.value.len(),
                None => return Err(FrameError::ExtensionCutOff { at }),
            };
        }
        Ok(Extensions(bytes))
    }

    /// The extensions in order.
    pub fn iter(&self) -> impl Iterator<Item = Extension<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (ext, after) = split_extension(rest)?;
            rest = after;
            Some(ext)
        })
    }
}

fn split_extension(bytes: &[u8]) -> Option<(Extension<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let kind = u16::from_le_bytes([head[0], head[1]]);
    let len = usize::from(u16::from_le_bytes([head[2], head[3]]));
    let (value, rest) = rest.split_at_checked(len)?;
    Some((Extension { kind, value }, rest))
}
