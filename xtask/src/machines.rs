//! Hands over to the program `xtask-machines`, which makes kits and starts virtual machines. It is a program of its own
//! because it takes far longer to build than the other chores.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use xtask::sh::{cargo, target};

use crate::args::usage_error;

/// The parts that it tests. A test compares this list with its own.
pub(crate) const PARTS: &[&str] = &[
    "guest", "boots", "firmware", "devices", "power", "network", "flash", "pi",
];

/// Builds the program, and runs it with these words.
pub(crate) fn run(words: &[String]) -> anyhow::Result<()> {
    let verb = words.first().map(String::as_str).unwrap_or_default();
    if verb != "kit" && !PARTS.contains(&verb) {
        usage_error(&format!(
            "unknown test {verb:?}: expected quick, full, buildroot, or one of the parts {}",
            PARTS.join(", ")
        ));
    }
    cargo(&["build", "--quiet", "--package", "xtask-machines"])?;
    let status = Command::new(program())
        .args(words)
        .status()
        .with_context(|| format!("cannot run {}", program().display()))?;
    ensure!(status.success(), "{} failed", words.join(" "));
    Ok(())
}

/// Where Cargo puts the program.
pub(crate) fn program() -> PathBuf {
    target().join("debug/xtask-machines")
}
