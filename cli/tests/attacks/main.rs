//! What a hostile worker can do: nothing. Each act is tried twice: by a program outside any sandbox, where it must
//! succeed, and by a worker, where it must fail in the expected way.
//!
//! The tests run as the user who starts them: as root with control groups (in the guest of `cargo xtask test guest`),
//! as root without them, or as an ordinary user. Programs are taken from the directory `HEARTH_PROGRAMS` if that is
//! set; otherwise they are built.

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
