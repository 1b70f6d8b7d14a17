//! The gateway: speaks HTTP(S) to clients and frames to workers.
//!
//! The gateway has no privileges and makes no decisions about workers. Listeners, certificates, workers and snapshots
//! come from the supervisor over one socket ([`link`]). While the supervisor is silent, the gateway serves from the
//! last snapshot. When the socket closes, the gateway ends.
//!
//! A request passes through [`listen`], [`tls`], [`serve`], [`route`], [`pool`], [`channel`] and [`stream`] to the
//! worker, and its response returns through [`reply`].

pub mod access;
pub mod body;
pub mod channel;
pub mod client;
pub mod event_loop;
pub mod failure;
pub mod handle;
pub mod head;
pub mod id;
pub mod link;
pub mod listen;
pub mod live;
mod load_sample;
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
pub mod time_limits;
pub mod tls;
pub mod upload;

pub use start::{StartError, run};
