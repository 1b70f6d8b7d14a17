//! Virtual machines for tests: [`Guest`] starts QEMU, reads its serial console, waits for what shall
//! appear there, and ends it whatever happens.
//!
//! | module | owns |
//! |---|---|
//! | [`arch`] | processors, and the machine that QEMU makes of each |
//! | [`console`] | what the machine has printed: kept in a log, searched for markers |
//! | [`guest`] | one machine from its start to its end |
//! | [`machine`] | one machine that is started from its own disk, again and again; QEMU's commands |
//! | [`pi`] | what a Raspberry Pi's firmware does with a card, done by this host |
//! | [`slot`] | what selector and stub take from a slot, taken by this host |
//! | [`speed`] | how much slower than planned this host is |
//! | [`timings`] | how long machines ran, for the test run that starts them |
//! | [`inside`] | one program run inside a machine, to its exit status |
//!
//! What runs inside is the crate `hearth-guest` (`qemu-tests/guest`), built for the guest's processor.
//! `cargo xtask test guest` builds all that a machine needs and calls this; so nothing here builds.

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
