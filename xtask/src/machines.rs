//! Runs the program `xtask-machines`, which makes kits and starts virtual machines. It is a separate program because
//! it takes far longer to build than the other tasks.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use xtask::sh::{cargo, target};

use crate::args::usage_error;

/// The parts that `xtask-machines` tests. A test compares this list with the plan.
pub(crate) const PARTS: &[&str] = &[
    "guest", "boots", "firmware", "devices", "power", "network", "flash", "pi",
];

/// Builds `xtask-machines`, and runs it with these arguments.
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

/// Returns the path at which Cargo puts the program.
pub(crate) fn program() -> PathBuf {
    target().join("debug/xtask-machines")
}
