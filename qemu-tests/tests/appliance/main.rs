//! The appliance as its users have it: images that `hearth image build` makes, in machines of either processor. UEFI
//! firmware starts them where that matters ([`device::Device::by_firmware`]), and QEMU in the other tests. Run by `cargo
//! xtask test devices`, which builds what these need.
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
