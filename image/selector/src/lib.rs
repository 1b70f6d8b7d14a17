//! Chooses the slot that boots, and reads the sections of EFI programs. Pure and without the standard library; shared
//! by the UEFI programs in this crate (feature `firmware`) and the image builder.
//!
//! | module | contents |
//! |---|---|
//! | [`autoboot`] | `autoboot.txt`: which slot boots, and which in a trial |
//! | [`options`] | whether a program was started for a trial |
//! | [`pe`] | the sections of an EFI program |
//! | [`room`] | the choice of the memory that a file is read into |
//! | `console` | output on the firmware's console, and the panic handler |
//! | `firmware` | calls into the firmware that both UEFI programs make |
//! | `memory` | allocation of memory for files, without fragmenting the rest |
//!
//! The firmware starts `src/bin/selector.rs` from the ESP. `src/bin/stub.rs` is the beginning of each slot's
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
