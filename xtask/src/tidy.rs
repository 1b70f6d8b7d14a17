//! `cargo xtask tidy`: formatting, lints, and rules of style that no tool knows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::sh::{cargo, root};

/// Lines of code before a file's tests that fit into a head. More is a file with two rooms in it.
const LONGEST: usize = 600;

/// File names that say nothing about what is inside.
const NAMELESS: &[&str] = &[
    "utils.rs",
    "util.rs",
    "common.rs",
    "helpers.rs",
    "manager.rs",
    "misc.rs",
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
    // `--all-targets` leaves out what does not run on this machine.
    let inside = ["--package", "hearth-guest", "--test", "smoke"];
    let devices = ["--package", "hearth-qemu-tests", "--test", "appliance"];
    for targets in [&["--workspace", "--all-targets"][..], &inside, &devices] {
        cargo(&[&["clippy"], targets, &["--", "-D", "warnings"]].concat())?;
    }
    Ok(())
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

/// Every Rust file of the project.
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
