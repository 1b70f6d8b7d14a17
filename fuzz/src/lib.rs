//! Bytes from outside, through everything that reads them.
//!
//! Each target is a function of any bytes that panics where a promise is broken. `libfuzzer/` drives
//! them for long (`cargo xtask fuzz`), `tests/short.rs` for a moment in every test run, from the same
//! seeds in `corpus/`.

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

/// A target: any bytes will do.
pub type Target = fn(&[u8]);

/// Every target, by the name that its corpus and its driver have.
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
