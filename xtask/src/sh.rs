//! Running programs.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The workspace's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where Cargo builds.
pub fn target() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(named.unwrap_or_else(|| "target".into()))
}

/// Restarts this program without what `cargo run` has told it of its own package. Build scripts of the Cargo that it
/// runs would take these variables for a change: ring's asks for `CARGO_MANIFEST_DIR` and others, so `cargo test` and
/// `cargo xtask test` would compile it, and all that depends on it, again after each other.
///
/// # Errors
/// This program cannot be run.
pub fn forget_package() -> anyhow::Result<()> {
    let named = |name: &str| std::env::var_os(name).is_some();
    if !named("CARGO_MANIFEST_DIR") && !named("CARGO_PKG_NAME") {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_package = ["CARGO_MANIFEST_", "CARGO_PKG_"];
        if of_package.iter().any(|start| text.starts_with(start)) {
            again.env_remove(&name);
        }
    }
    Err(again.exec()).context("cannot restart")
}

/// Runs a program in the root; an error if it cannot be run or fails.
pub fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    run_in(&root(), program, args)
}

/// Runs a program in a directory; an error if it cannot be run or fails.
pub fn run_in(directory: &Path, program: &str, args: &[&str]) -> anyhow::Result<()> {
    say(&format!("{program} {}", args.join(" ")));
    let status = Command::new(program)
        .args(args)
        .current_dir(directory)
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("`{program} {}` failed: {status}", args.join(" "));
    }
    Ok(())
}

/// Runs a program whose output and success do not matter.
pub fn run_quietly(program: &str, args: &[&str]) {
    let _ = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// The Cargo that runs this chore.
pub fn cargo_program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Runs Cargo, the one that runs this chore.
pub fn cargo(args: &[&str]) -> anyhow::Result<()> {
    run(&cargo_program(), args)
}

/// What a program prints, if it succeeds.
pub fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Whether a program can be found, or another file by its whole path; also where Debian keeps those of PostgreSQL, by
/// its version.
pub fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let versions = versions.into_iter().flatten().flatten();
    let mut directories = std::env::split_paths(&paths)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .chain(versions.map(|version| version.path().join("bin")));
    directories.any(|directory| directory.join(program).is_file())
}

/// Prints a line about what happens.
#[expect(
    clippy::print_stderr,
    reason = "a chore talks to the person who started it"
)]
pub fn say(what: &str) {
    eprintln!("== {what}");
}
