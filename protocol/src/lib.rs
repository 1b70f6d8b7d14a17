//! Hearth's wire, version 1: frames over Unix stream sockets between supervisor, gateway and workers.
//!
//! Layers, each using only the ones above it:
//!
//! - [`frame`]: bytes <-> [`Frame`], with every length checked before memory is taken.
//! - [`control`], [`data`]: [`Frame`] <-> typed messages of the two kinds of socket; [`link`]: those
//!   between supervisor and gateway.
//! - [`stats`]: what the gateway counts, as it goes over the link.
//! - [`head`]: what MessagePack or JSON carry inside: request and response heads, CONFIG, LOG.
//! - [`buffer`], [`credit`]: what both ends of a connection need to keep, without any I/O.
//!
//! This crate does no I/O, knows no other Hearth crate and never panics on input. The same rules in
//! prose, for workers in other languages, are in `docs/protocol.md`; bytes to test against are in
//! `protocol/vectors/`.

pub mod buffer;
pub mod control;
pub mod credit;
pub mod data;
pub mod dump;
pub mod frame;
pub mod head;
pub mod link;
mod msgpack;
mod packed;
pub mod stats;

pub use buffer::FrameBuffer;
pub use credit::Credit;
pub use frame::{Flags, Frame, FrameError, Kind};
pub use head::Codec;

/// The version of the wire that this crate speaks.
pub const VERSION: u8 = 1;

/// Longest `len` of a frame on a data socket: a head of 64 KiB as sent by a client grows when it is
/// encoded, and 64 KiB of body may ride with it; four times that bounds both.
pub const MAX_DATA_LEN: u32 = 256 * 1024;

/// Longest `len` of a frame on a control socket: CONFIG carries environment, resources and CA
/// certificates (a full Mozilla bundle is 220 KB of PEM).
pub const MAX_CONTROL_LEN: u32 = 4 * 1024 * 1024;

/// Most payload bytes a sender puts into one DATA or MESSAGE frame, or beside a head: small enough
/// that one stream does not hold up the others, large enough that headers do not count.
pub const MAX_CHUNK: usize = 64 * 1024;

/// Credit each side starts a stream with, in payload bytes of DATA and MESSAGE, unless CONFIG says
/// otherwise: two chunks, so that one can be under way while the other is consumed.
pub const INITIAL_CREDIT: u32 = 128 * 1024;

/// Room for one read from a control socket: its frames are few and mostly short.
pub const CONTROL_ROOM: usize = 4 * 1024;

/// Room for one read from a data socket: a full row of small requests, or half of what a Unix socket
/// holds by default.
pub const DATA_ROOM: usize = 32 * 1024;
