//! Disk layouts, slots and kits: what the appliance's images are made of.
//!
//! Modules that a device needs, too, are always compiled: positions ([`layout`]), partition tables ([`disk`]), the
//! pristine data ([`sparse`]) and the device's identity ([`identity`]). The modules that make images need the feature
//! `build`.

#[cfg(feature = "build")]
pub mod assemble;
pub mod board;
pub mod disk;
#[cfg(feature = "build")]
pub mod fat;
pub mod gpt;
pub mod guid;
pub mod identity;
#[cfg(feature = "build")]
pub mod initramfs;
#[cfg(feature = "build")]
pub mod kit;
pub mod layout;
pub mod mbr;
#[cfg(feature = "build")]
pub mod space;
pub mod sparse;
#[cfg(feature = "build")]
pub mod uki;

pub use board::{Arch, Board, Firmware};
pub use hearth_selector::autoboot;
