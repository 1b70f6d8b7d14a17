//! What decides which slot boots, and what reads the parts of an EFI program. Pure, without a standard library:
//! the UEFI programs beside it (feature `firmware`) and the builder of images share it.
//!
//! | module | owns |
//! |---|---|
//! | [`autoboot`] | `autoboot.txt`: which slot, and which for a trial |
//! | [`options`] | whether a program was started for a trial |
//! | [`pe`] | the sections of an EFI program |
//! | [`room`] | the piece of memory that a file is read into |
//! | `console` | what is said on the firmware's console, and a panic's end |
//! | `firmware` | what both UEFI programs ask of the firmware |
//! | `memory` | room for a file, where it leaves no hole |
//!
//! `src/bin/selector.rs` is what firmware starts from the ESP; `src/bin/stub.rs` is the begin of each slot's
//! `hearth.efi`.

#![no_std]
#![cfg_attr(not(feature = "firmware"), forbid(unsafe_code))]

pub mod autoboot;
#[cfg(feature = "firmware")]
pub mod console;
#[cfg(feature = "firmware")]
pub mod firmware;
#[cfg(feature = "firmware")]
pub mod memory;
pub mod options;
pub mod pe;
pub mod room;
