//! The library for authors of Hearth functions.
//!
//! ```no_run
//! use hearth_sdk::{Request, Response, serve};
//!
//! struct AppState {
//!     greeted: u64,
//! }
//!
//! fn handle(state: &mut AppState, req: Request) -> Response {
//!     state.greeted += 1;
//!     match (req.method.as_str(), req.path.as_str()) {
//!         ("GET", "/hello") => Response::text(format!("hello, number {}", state.greeted)),
//!         _ => Response::not_found(),
//!     }
//! }
//!
//! fn main() {
//!     serve(|| AppState { greeted: 0 }, handle)
//! }
//! ```
//!
//! The state is created once, when the worker starts, and lives until the worker stops, so the connections and files in
//! it stay open. `serve` runs one handler at a time and needs no async runtime; the feature `async` adds `serve_async`,
//! which runs handlers concurrently on tokio. To drive the request loop yourself, use [`ipc`].

#[cfg(feature = "async")]
mod aio;
#[cfg(feature = "async")]
mod block;
mod body;
mod causes;
mod event;
mod flusher;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod handshake;
pub mod ipc;
pub mod log;
mod panics;
mod problem;
mod request;
#[cfg(any(feature = "memcache", feature = "postgres", feature = "redis"))]
pub mod resource;
mod response;
mod serve;
mod slots;
mod socket;
pub mod test;
mod text;
#[cfg(feature = "tracing")]
mod trace;
mod worker;

#[cfg(feature = "async")]
pub use aio::{AsyncBodyWriter, AsyncFunction, serve_async};
#[cfg(feature = "async")]
pub use block::block_on;
pub use body::{Body, BodyReader};
#[cfg(feature = "async")]
pub use event::AsyncEvents;
pub use event::{Event, Events};
pub use problem::Problem;
pub use request::{Headers, Params, Request};
#[cfg(feature = "memcache")]
pub use resource::memcache;
#[cfg(feature = "postgres")]
pub use resource::postgres;
#[cfg(feature = "redis")]
pub use resource::redis;
#[cfg(any(feature = "memcache", feature = "postgres", feature = "redis"))]
pub use resource::{ResourceError, Unavailable};
pub use response::{BodyWriter, IntoResponse, Response};
pub use serve::{Function, serve};
pub use text::Text;

/// The number of this worker, as `hearth status` and the log show it. The process id does not identify a worker,
/// because each worker has its own PID namespace.
pub fn worker() -> u64 {
    handshake::config().worker
}

/// A value of the function's `env` in the manifest.
///
/// The worker receives the value over its control socket; it is not in the environment of the process.
pub fn env(name: &str) -> Option<&'static str> {
    handshake::config().env.get(name).map(String::as_str)
}

/// The value of a secret that the function's `secrets` in the manifest lists.
///
/// A secret that `env` or `resources` refers to is part of the value that `env` or `resource` returns.
pub fn secret(name: &str) -> Option<&'static str> {
    handshake::config().secrets.get(name).map(String::as_str)
}

/// The value of a resource in the function's `resources` in the manifest, usually an address.
pub fn resource(name: &str) -> Option<&'static serde_json::Value> {
    handshake::config().resources.get(name)
}

/// The function's name in the manifest.
pub fn function() -> &'static str {
    &handshake::config().function
}

/// Includes `docs/functions.md`, so that the documentation tests compile its examples.
#[cfg(all(doctest, feature = "memcache", feature = "postgres", feature = "redis"))]
#[doc = include_str!("../../docs/functions.md")]
pub struct Functions;
