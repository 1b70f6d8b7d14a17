//! Small safe wrappers around what the standard library does not offer.
//!
//! The only crate of the project with `unsafe` in it. Each module owns one topic and knows nothing
//! of Hearth: descriptors given at start, descriptors sent over sockets, children, mounts, filters of
//! system calls, sealed memory files, datagrams, memory given back, waiting, Unix sockets below deep
//! directories, partitions that grow, the watchdog, seeds of chance, the clock, frames, a restart with a word,
//! what musl lacks.

pub mod block;
pub mod clock;
pub mod datagram;
pub mod entropy;
pub mod fork;
pub mod inherit;
pub mod lock;
pub mod memfile;
pub mod memory;
pub mod mount;
#[cfg(all(target_env = "musl", target_pointer_width = "64"))]
mod musl;
pub mod packet;
pub mod passing;
pub mod privilege;
pub mod reboot;
pub mod seccomp;
pub mod spawn;
pub mod unix;
pub mod wait;
pub mod watchdog;
