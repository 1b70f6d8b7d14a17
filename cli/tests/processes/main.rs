//! The platform as its users see it: `hearth` and the processes that it starts, over real sockets.
//!
//! All tests are in one program, so that tests of different files run in parallel. Each test starts its own
//! platform in a temporary directory ([`platform`]), with functions from `sdk/examples`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of this is tests, which Clippy sees only in the functions marked as such"
)]

mod abuse;
mod bad_json;
mod bodies;
mod caches;
mod control;
mod crash;
mod curl;
mod dev;
mod encrypted;
mod failures;
mod figures;
mod functions;
mod health;
mod hostile;
mod http;
mod http2;
mod http2_abuse;
mod items;
mod journal;
mod lifecycle;
mod lives;
mod load;
mod logs;
mod metrics;
mod names;
mod new;
mod notify;
mod operations;
mod outages;
mod platform;
mod postgres;
mod process;
#[path = "../promise/mod.rs"]
mod promise;
mod queue;
mod reload;
mod routing;
mod sandbox;
mod scaling;
mod secrets;
mod server;
mod side_by_side;
mod static_build;
mod store;
mod threads;
mod times;
mod tls;
mod verbs;
mod versions;
mod wait;
