//! Builds the host's programs and test programs, and runs the latter.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;
use xtask::sh::{cargo_program, root, say};
use xtask::tree::{Kind, Tree};

use crate::tidy::ALL_TARGETS;

/// Test programs by package, target and kind.
#[derive(Debug)]
pub(crate) struct Programs(Found);

impl Programs {
    /// Builds everything in the workspace, including tests. Everything is built together, because a dependency's
    /// features follow from all packages that are built with it: building a selection would build most dependencies
    /// twice.
    pub(crate) fn build(tree: &Tree) -> anyhow::Result<Programs> {
        let mut found = BTreeMap::new();
        for targets in ALL_TARGETS {
            build(targets, tree, &mut found)?;
        }
        Ok(Programs(found))
    }

    /// Returns the path of a test program.
    pub(crate) fn find(&self, package: &str, target: &str, kind: Kind) -> anyhow::Result<&Path> {
        let key = (package.to_owned(), target.to_owned(), kind);
        let found = self.0.get(&key).map(PathBuf::as_path);
        found.with_context(|| format!("cargo has not built the tests of {package}, {target}"))
    }
}

/// Test programs by package, target and kind.
type Found = BTreeMap<(String, String, Kind), PathBuf>;

/// Builds these targets, and adds their test programs to `found`.
fn build(targets: &[&str], tree: &Tree, found: &mut Found) -> anyhow::Result<()> {
    let words = [&["build"], targets].concat();
    say(&format!("cargo {}", words.join(" ")));
    let mut cargo = Command::new(cargo_program())
        .args(words)
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let messages = cargo.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(messages).lines() {
        found.extend(test_program(&line?, tree));
    }
    let status = cargo.wait().context("cannot wait for cargo")?;
    ensure!(
        status.success(),
        "cargo cannot build the workspace; its reasons are above"
    );
    Ok(())
}

/// Parses a line of Cargo's output that reports a test program.
fn test_program(line: &str, tree: &Tree) -> Option<((String, String, Kind), PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["profile"]["test"] != true {
        return None;
    }
    let executable = message["executable"].as_str()?;
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let directory = manifest.parent()?.strip_prefix(root()).ok()?;
    let mut packages = tree.packages().iter();
    let package = packages.find(|package| Path::new(&package.directory) == directory)?;
    let kind = Kind::from_cargo(message["target"]["kind"][0].as_str()?)?;
    let target = message["target"]["name"].as_str()?.to_owned();
    Some(((package.name.clone(), target, kind), executable.into()))
}

/// Returns a command that runs a test program as Cargo would.
pub(crate) fn command(program: &Path, package: &str, tree: &Tree) -> Command {
    let mut packages = tree.packages().iter();
    let found = packages.find(|one| one.name == package);
    let directory = root().join(found.map(|one| one.directory.as_str()).unwrap_or_default());
    let mut command = Command::new(program);
    command
        .env("CARGO", cargo_program())
        .env("CARGO_MANIFEST_DIR", &directory)
        .current_dir(directory);
    command
}

/// Returns how many tests a log reports as passed: the sum of its lines `test result: ok. 12 passed; 0 failed; ...`.
pub(crate) fn tests_passed(log: &Path) -> Option<u64> {
    let text = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    let counts = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("test result: ")?;
        let (_, rest) = rest.split_once(". ")?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    });
    counts.reduce(|sum, count| sum + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_found_in_what_cargo_reports() {
        let tree = Tree::read(&root()).unwrap();
        let line = |test: bool| {
            let manifest = root().join("gateway/Cargo.toml");
            let value = serde_json::json!({
                "manifest_path": manifest,
                "target": { "kind": ["lib"], "name": "hearth_gateway" },
                "profile": { "test": test },
                "executable": "/target/debug/deps/hearth_gateway-1",
            });
            value.to_string()
        };
        let key = (
            "hearth-gateway".to_owned(),
            "hearth_gateway".to_owned(),
            Kind::Library,
        );
        let expect = (key, PathBuf::from("/target/debug/deps/hearth_gateway-1"));
        assert_eq!(test_program(&line(true), &tree), Some(expect));
        assert_eq!(test_program(&line(false), &tree), None);
        assert_eq!(test_program("Compiling", &tree), None);
    }

    #[test]
    fn all_results_in_a_log_are_summed() {
        let log = std::env::temp_dir().join(format!("hearth-log-{}", std::process::id()));
        let results =
            "x\ntest result: ok. 12 passed; 0 failed\n[a] test result: ok. 3 passed; 0 failed\n";
        fs::write(&log, results).unwrap();
        assert_eq!(tests_passed(&log), Some(15));
        fs::write(&log, "nothing\n").unwrap();
        assert_eq!(tests_passed(&log), None);
        fs::remove_file(&log).unwrap();
    }
}
