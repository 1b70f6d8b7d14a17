//! Fuzz targets for every parser of bytes from outside.
//!
//! Each target is a function of arbitrary bytes that panics if a guarantee is violated. `libfuzzer/` runs the targets
//! for a long time (`cargo xtask fuzz`), `tests/short.rs` for a short time in every test run. Both start from the seeds
//! in `corpus/`.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise is to panic here"
)]

pub mod answers;
pub mod autoboot;
pub mod disks;
pub mod frames;
pub mod heads;
pub mod identity;
pub mod journal;
pub mod kits;
pub mod manifest;
pub mod requests;
pub mod sparse;
pub mod uki;

/// A target, which accepts arbitrary bytes.
pub type Target = fn(&[u8]);

/// All targets, each with the name of its corpus and of its driver.
pub const TARGETS: [(&str, Target); 12] = [
    ("answers", answers::run),
    ("autoboot", autoboot::run),
    ("disks", disks::run),
    ("frames", frames::run),
    ("heads", heads::run),
    ("identity", identity::run),
    ("journal", journal::run),
    ("kits", kits::run),
    ("manifest", manifest::run),
    ("requests", requests::run),
    ("sparse", sparse::run),
    ("uki", uki::run),
];
