//! The frame: a fixed 16-byte little-endian header, extensions, payload. Pure functions over bytes.
//!
//! Refuses nothing but what breaks the framing itself; what a kind means is [`crate::control`]'s and
//! [`crate::data`]'s business.

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 16;

/// Declares the kinds once: numbers, names and both directions between them.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// What a frame is. Numbers below 32 belong to control sockets, from 32 to
        /// data sockets, from 64 to the socket between supervisor and gateway, which is no part of the
        /// public wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
            /// A kind of a later version.
            Unknown(u8),
        }

        impl Kind {
            /// Every kind of this version.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            /// The kind with this number.
            pub fn from_number(number: u8) -> Kind {
                match number {
                    $($number => Kind::$name,)*
                    other => Kind::Unknown(other),
                }
            }

            /// Its number on the wire.
            pub fn number(self) -> u8 {
                match self {
                    $(Kind::$name => $number,)*
                    Kind::Unknown(number) => number,
                }
            }

            /// Its name as the documentation writes it.
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
    /// Worker's first frame on its control socket.
    Hello = 1, "HELLO";
    /// Supervisor's answer to HELLO.
    Config = 2, "CONFIG";
    /// The worker's state stands; it may be given data sockets.
    Ready = 3, "READY";
    /// The worker could not start, with a message.
    StartFailed = 4, "START_FAILED";
    /// A data socket for the worker, passed with this frame.
    Attach = 5, "ATTACH";
    /// A log record of the worker.
    Log = 6, "LOG";
    /// Are you there?
    Ping = 7, "PING";
    /// Yes.
    Pong = 8, "PONG";
    /// Finish what you started and exit.
    Drain = 9, "DRAIN";
    /// Exit.
    Stop = 10, "STOP";
    /// Which addresses has this host of a resource? The answer comes over a socket passed along.
    Resolve = 11, "RESOLVE";
    /// The addresses, or why there are none.
    Resolved = 12, "RESOLVED";
    /// Opens a stream with a request's head.
    Request = 32, "REQUEST";
    /// A response's head.
    Response = 33, "RESPONSE";
    /// Bytes of a body.
    Data = 34, "DATA";
    /// Trailing header fields; ends its direction of the stream.
    Trailers = 35, "TRAILERS";
    /// Gives credit for more DATA or MESSAGE bytes.
    Window = 36, "WINDOW";
    /// A WebSocket message.
    Message = 37, "MESSAGE";
    /// The gateway no longer wants the answer.
    Cancel = 38, "CANCEL";
    /// Ends a stream, or on slot 0 the connection, with a reason.
    Error = 39, "ERROR";
    /// The worker takes no more requests and lists slots it did not start.
    Goaway = 40, "GOAWAY";
    /// Supervisor to gateway: certificates and keys, in a sealed memory file passed along.
    Certificates = 64, "CERTIFICATES";
    /// Supervisor to gateway: a worker and its data sockets, passed along.
    WorkerAdd = 65, "WORKER_ADD";
    /// Supervisor to gateway: a worker that takes no more requests.
    WorkerDrop = 66, "WORKER_DROP";
    /// Supervisor to gateway: what to serve from now on.
    Snapshot = 67, "SNAPSHOT";
    /// Gateway to supervisor: a snapshot is being served.
    Ack = 68, "ACK";
    /// Gateway to supervisor: a worker's data socket has ended.
    WorkerLost = 69, "WORKER_LOST";
    /// Gateway to supervisor: what was counted in the last second.
    Stats = 70, "STATS";
    /// Gateway to supervisor: how busy a function that scales is.
    Pressure = 71, "PRESSURE";
    /// Supervisor to gateway: a function cannot be started, or may be again.
    Unavailable = 72, "UNAVAILABLE";
    /// Supervisor to gateway: ask this worker whether it is well.
    Probe = 73, "PROBE";
    /// Gateway to supervisor: what came of it.
    Health = 74, "HEALTH";
}

/// Flag bits of a frame. Unknown bits are ignored by receivers and sent as zero.
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

    /// `flag` if `on`, else nothing.
    pub fn when(on: bool, flag: Flags) -> Flags {
        if on { flag } else { Flags::NONE }
    }
}

/// One frame, its variable parts borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The slot, or 0 for the connection itself.
    pub stream: u32,
    /// What it is.
    pub kind: Kind,
    /// Flag bits.
    pub flags: Flags,
    /// A number whose meaning depends on the kind.
    pub aux: u32,
    /// Type-length-value extensions, already checked to be well formed.
    pub extensions: Extensions<'a>,
    /// The rest.
    pub payload: &'a [u8],
}

/// Why bytes are not a frame. The connection cannot go on after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// `len` is larger than this socket allows.
    #[error("frame of {len} bytes after its header, at most {max} are allowed")]
    TooLong {
        /// What the header said.
        len: u32,
        /// What is allowed.
        max: u32,
    },
    /// `ext_len` reaches beyond the frame.
    #[error("{ext_len} bytes of extensions in a frame of {len}")]
    ExtensionsBeyondFrame {
        /// Bytes of extensions announced.
        ext_len: u16,
        /// Bytes after the header.
        len: u32,
    },
    /// An extension's own length reaches beyond the extensions.
    #[error("extension cut off at byte {at} of the extensions")]
    ExtensionCutOff {
        /// Offset of that extension.
        at: usize,
    },
    /// An extension that must be understood is not.
    #[error("extension {0:#06x} must be understood and is not")]
    UnknownCriticalExtension(u16),
    /// A frame of a known kind whose fields contradict its kind.
    #[error("{kind} frame: {what}")]
    Malformed {
        /// Its kind's name.
        kind: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A frame that this kind of socket or this direction does not carry.
    #[error("{0} frame where none is allowed")]
    Misplaced(&'static str),
}

impl<'a> Frame<'a> {
    /// Takes one frame off the front of `bytes`.
    ///
    /// Returns the frame and how many bytes it took, or `None` if more bytes are needed. Refuses a
    /// `len` above `max_len` as soon as the header is there, so that a caller never makes room for it.
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
    /// If the parts are longer than the header's fields can say; senders keep to
    /// [`crate::MAX_CONTROL_LEN`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let open = OpenFrame::begin(out, self.kind, self.stream);
        out.extend_from_slice(self.extensions.0);
        out.extend_from_slice(self.payload);
        open.finish_with_extensions(out, self.flags, self.aux, self.extensions.0.len());
    }

    /// Bytes it takes on the wire.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.extensions.0.len() + self.payload.len()
    }

    /// Refuses the frame if it carries an extension whose high bit says that it must be understood.
    /// Version 1 defines no extension, so every such type is unknown.
    pub fn refuse_unknown_extensions(&self) -> Result<(), FrameError> {
        match self.extensions.iter().find(|ext| ext.is_critical()) {
            Some(ext) => Err(FrameError::UnknownCriticalExtension(ext.kind)),
            None => Ok(()),
        }
    }
}

/// A frame being written straight into its buffer: the header's place is kept until the payload,
/// whose length is not known before, stands behind it.
#[must_use = "a frame that is not finished has no header"]
pub struct OpenFrame {
    start: usize,
    kind: Kind,
    stream: u32,
}

impl OpenFrame {
    /// Keeps room for a header at the end of `out`; the caller appends the payload and finishes.
    pub fn begin(out: &mut Vec<u8>, kind: Kind, stream: u32) -> OpenFrame {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        OpenFrame {
            start,
            kind,
            stream,
        }
    }

    /// Bytes written after the header so far.
    pub fn written(&self, out: &[u8]) -> usize {
        out.len() - self.start - HEADER_LEN
    }

    /// Writes the header. No extensions.
    pub fn finish(self, out: &mut [u8], flags: Flags, aux: u32) {
        self.finish_with_extensions(out, flags, aux, 0);
    }

    /// Takes the unfinished frame off `out` again.
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

/// The extensions of a frame, known to be well formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions<'a>(&'a [u8]);

/// One extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Its type; the high bit says "refuse if unknown".
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

impl Extension<'_> {
    /// Whether a receiver that does not know it must refuse the frame.
    pub fn is_critical(&self) -> bool {
        self.kind & 0x8000 != 0
    }
}

impl<'a> Extensions<'a> {
    /// None.
    pub const NONE: Extensions<'static> = Extensions(&[]);

    /// Checks that `bytes` are a row of `type u16 | len u16 | value`.
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
