//! What the appliance's images are made of: disk layouts, slots and kits.
//!
//! What a device needs of it, too, is always there: where things lie ([`layout`]), tables read and grown
//! ([`disk`]), the pristine data ([`sparse`]), the box's own ([`identity`]). What makes images is behind the
//! feature `build`.

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
