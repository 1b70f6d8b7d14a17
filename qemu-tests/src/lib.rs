//! Virtual machines for tests: [`Guest`] starts QEMU, reads its serial console, waits for markers there, and ends
//! QEMU when it is dropped.
//!
//! | module | contents |
//! |---|---|
//! | [`arch`] | QEMU's program and machine for each processor architecture |
//! | [`console`] | the console output of a machine: written to a log, searched for markers |
//! | [`guest`] | one machine from start to end |
//! | [`machine`] | a machine that is started from its own disk, repeatedly; commands to QEMU |
//! | [`pi`] | does what a Raspberry Pi's firmware does with a card |
//! | [`slot`] | does what selector and stub do with a slot |
//! | [`speed`] | how much slower this host is than the one that time limits are for |
//! | [`timings`] | reports how long machines ran, for the test run that starts them |
//! | [`inside`] | runs one program inside a machine, and returns its exit status |
//!
//! The crate `hearth-guest` (`qemu-tests/guest`), built for the guest's architecture, runs inside.
//! `cargo xtask test guest` builds all that a machine needs and calls this crate, which builds nothing.

pub mod arch;
pub mod console;
pub mod guest;
pub mod inside;
pub mod machine;
pub mod pi;
pub mod slot;
pub mod speed;
pub mod timings;

pub use arch::Arch;
pub use guest::{Boot, Guest, GuestError, Spec, Tap};
pub use hearth_image::initramfs::{Initramfs, InitramfsError, Owner};
pub use inside::Inside;
pub use machine::{Machine, Running};
pub use speed::Speed;
