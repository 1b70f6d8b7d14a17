//! The appliance as its users have it: images that `hearth image build` makes, started by UEFI firmware in
//! machines of either processor. Run by `cargo xtask test appliance`, which builds what these need.
//!
//! What breaks things inside is a program beside the platform ([`lab::Lab::kit`]); everything else in these
//! images is what a device gets.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of this is tests, which Clippy sees only in the functions marked as such"
)]

mod attacks;
mod bench;
mod data;
mod device;
mod lab;
mod life;
mod network;
mod power;
#[path = "../../../cli/tests/processes/process.rs"]
mod process;
mod servers;
#[path = "../../../cli/tests/processes/server.rs"]
mod server;
#[path = "../../../cli/tests/processes/wait.rs"]
mod wait;
