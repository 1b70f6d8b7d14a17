//! The appliance as its users have it: images from `hearth image build`, in machines of either architecture. UEFI
//! firmware starts them where that matters ([`device::Device::by_firmware`]); otherwise QEMU does.
//! `cargo xtask test devices` builds what these tests need and runs them.
//!
//! The saboteur, a program next to the platform ([`lab::Lab::kit`]), makes things fail inside. Everything else in
//! these images is what a real device gets.

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
mod neighbours;
mod network;
mod power;
#[path = "../../../cli/tests/processes/process.rs"]
#[allow(dead_code, reason = "other tests use all of it")]
mod process;
#[path = "../../../cli/tests/processes/server.rs"]
#[allow(dead_code, reason = "other tests use all of it")]
mod server;
mod servers;
#[path = "../../../cli/tests/processes/wait.rs"]
#[allow(dead_code, reason = "other tests use all of it")]
mod wait;
