//! What decides which slot boots. Pure, without a standard library: the UEFI programs beside it and the
//! builder of images share it.

#![no_std]

pub mod autoboot;
pub mod pe;
