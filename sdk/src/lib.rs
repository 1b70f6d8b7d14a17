//! What a Hearth function is written with.
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
//! The state is made once, when the worker starts, and lives until it stops: what it holds open stays
//! open. Handlers run one at a time. There is no async runtime in here; whoever wants the loop in
//! their own hands finds it in [`ipc`].

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

/// This worker's number, as `hearth status` and the log show it. Its process id tells nothing: a
/// worker has a process namespace of its own, in which it is the first.
pub fn worker() -> u64 {
    handshake::config().worker
}

/// A value of the function's `env` in the manifest.
///
/// It reaches the worker over its control socket and stands in no process environment.
pub fn env(name: &str) -> Option<&'static str> {
    handshake::config().env.get(name).map(String::as_str)
}

/// A secret that the function's `secrets` in the manifest names.
///
/// Secrets in `env` and `resources` stand in their places there.
pub fn secret(name: &str) -> Option<&'static str> {
    handshake::config().secrets.get(name).map(String::as_str)
}

/// A resource of the function in the manifest, as it stands there: mostly an address.
pub fn resource(name: &str) -> Option<&'static serde_json::Value> {
    handshake::config().resources.get(name)
}

/// The function's name in the manifest.
pub fn function() -> &'static str {
    &handshake::config().function
}

/// The page that teaches all of this: its examples are compiled.
#[cfg(all(doctest, feature = "memcache", feature = "postgres", feature = "redis"))]
#[doc = include_str!("../../docs/functions.md")]
pub struct Functions;
