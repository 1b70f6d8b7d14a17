//! The gateway: speaks HTTP(S) to clients and frames to workers.
//!
//! Holds no privilege and makes no decision about workers: listeners, certificates, workers and
//! snapshots come from the supervisor over one socket ([`link`]); it serves on from the last
//! snapshot when that falls silent, and ends when it closes.
//!
//! A request's way: [`listen`] -> [`tls`] -> [`serve`] -> [`route`] -> [`pool`] -> [`channel`] and
//! [`stream`] -> worker -> back -> [`reply`].

pub mod access;
pub mod body;
pub mod channel;
pub mod client;
pub mod failure;
pub mod handle;
pub mod head;
pub mod id;
pub mod link;
pub mod listen;
pub mod live;
pub mod pool;
pub mod pressure;
pub mod probe;
pub mod reply;
pub mod route;
pub mod serve;
pub mod start;
pub mod stream;
pub mod tally;
pub mod target;
pub mod thread;
pub mod tls;
pub mod upload;

pub use start::{StartError, run};
