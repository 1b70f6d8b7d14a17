//! What a hostile worker can do: nothing. Each act is tried twice, by a program outside of any sandbox,
//! where it must succeed, and by a worker, where it must fail in just the way that is expected.
//!
//! Runs wherever it is started: as root with control groups (the guest of `cargo xtask test guest`), as
//! root without, as an ordinary user. Programs are taken from the directory `HEARTH_PROGRAMS`, if that
//! is set; else they are built.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    dead_code,
    reason = "all of this is tests, and shares files with other tests, of which it uses a part"
)]

mod acts;
mod bombs;
mod catalogue;
mod cost;
#[path = "../processes/http.rs"]
mod http;
mod many;
mod outcome;
#[path = "../processes/platform.rs"]
mod platform;
#[path = "../processes/process.rs"]
mod process;
mod scene;
mod spoken;
mod start;
#[path = "../processes/wait.rs"]
mod wait;
