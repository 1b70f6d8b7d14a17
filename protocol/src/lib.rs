//! Hearth's protocol, version 1: frames over Unix stream sockets between supervisor, gateway and workers.
//!
//! The modules, from the frame upwards:
//!
//! - [`frame`]: bytes <-> [`Frame`]. Every length is validated before memory is allocated for it.
//! - [`control`], [`data`]: [`Frame`] <-> typed messages of control sockets and data sockets.
//! - [`link`]: [`Frame`] <-> typed messages between supervisor and gateway.
//! - [`stats`]: the gateway's counts, as the link carries them.
//! - [`head`]: the structures that are encoded as MessagePack or JSON: heads of requests and responses, CONFIG, LOG.
//! - [`buffer`], [`credit`]: the state that both ends of a connection keep.
//!
//! This crate does no I/O, depends on no other Hearth crate and never panics on input. `docs/protocol.md` specifies the
//! protocol for workers in other languages, and `protocol/vectors/` contains test vectors.

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

/// The version of the protocol that this crate implements.
pub const VERSION: u8 = 1;

/// Largest `len` of a frame on a data socket. A frame may carry a head, which was up to 64 KiB when the client sent it
/// and grows when it is encoded, and 64 KiB of a body. Four times 64 KiB bounds both together.
pub const MAX_DATA_LEN: u32 = 256 * 1024;

/// Largest `len` of a frame on a control socket. CONFIG carries the environment, resources and CA certificates; a full
/// Mozilla bundle is 220 KB of PEM.
pub const MAX_CONTROL_LEN: u32 = 4 * 1024 * 1024;

/// Maximum number of body bytes in one DATA or MESSAGE frame, or after a head. It is small enough that one stream does
/// not delay the others, and large enough that the cost of headers does not matter.
pub const MAX_CHUNK: usize = 64 * 1024;

/// Credit that each direction of a stream starts with, in payload bytes of DATA and MESSAGE, unless CONFIG sets another
/// value. It is two chunks, so that one is on its way while the other is consumed.
pub const INITIAL_CREDIT: u32 = 128 * 1024;

/// Size of the buffer for one read from a control socket. Its frames are few and mostly short.
pub const CONTROL_ROOM: usize = 4 * 1024;

/// Size of the buffer for one read from a data socket: a full batch of small requests, or half of what a Unix socket
/// holds by default.
pub const DATA_ROOM: usize = 32 * 1024;
