//! Runs programs.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Returns the workspace's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Returns the directory in which Cargo builds.
pub fn target() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(named.unwrap_or_else(|| "target".into()))
}

/// Restarts this program without the variables that `cargo run` has set about its package.
///
/// Build scripts would take these variables for a change: ring's build script depends on `CARGO_MANIFEST_DIR` and
/// others. So `cargo test` and `cargo xtask test` would each compile it, and everything that depends on it, again
/// after the other.
///
/// # Errors If this program cannot be run.
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

/// Runs a program in the workspace's root. Fails if the program cannot be run or fails.
pub fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    run_in(&root(), program, args)
}

/// Runs a program in a directory. Fails if the program cannot be run or fails.
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

/// Runs a program, and ignores its output and its status.
pub fn run_quietly(program: &str, args: &[&str]) {
    let _ = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Returns the Cargo that runs this task.
pub fn cargo_program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Runs the Cargo that runs this task.
pub fn cargo(args: &[&str]) -> anyhow::Result<()> {
    run(&cargo_program(), args)
}

/// Returns a program's output, if the program succeeds.
pub fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Returns whether a program is in `PATH`, or whether another file exists, by its full path. Also searches the
/// directories in which Debian keeps PostgreSQL's programs, one for each version.
pub fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let versions = versions.into_iter().flatten().flatten();
    let mut directories = std::env::split_paths(&paths)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .chain(versions.map(|version| version.path().join("bin")));
    directories.any(|directory| directory.join(program).is_file())
}

/// Prints a line about the progress.
#[expect(
    clippy::print_stderr,
    reason = "a chore talks to the person who started it"
)]
pub fn say(what: &str) {
    eprintln!("== {what}");
}
