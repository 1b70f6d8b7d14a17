//! What the appliance's images are made of: disk layouts, slots and kits.

pub use hearth_selector::autoboot;

pub mod uki;
