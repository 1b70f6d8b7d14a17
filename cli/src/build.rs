//! Builds the functions of a manifest.

mod elf;
mod fixed;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use hearth_manifest::Manifest;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::out;
use crate::up::own_program;
#[cfg(feature = "image")]
pub(crate) use fixed::{Built, Options, found, functions};
pub(crate) use fixed::{Static, build};
pub(crate) use way::Arch;
#[cfg(feature = "image")]
pub(crate) use way::cache;

/// How functions are compiled.
#[derive(Clone, Debug)]
pub(crate) enum Profile {
    /// Optimised, for this machine.
    Release,
    /// Compiled quickly, for `hearth dev`.
    Dev,
    /// Static, for any machine of an architecture.
    Static(Static),
}

/// Builds the functions of a manifest with one profile.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    pub(crate) profile: Profile,
    /// Whether compilers get SIGTERM when this process ends, however it ends.
    pub(crate) tied: bool,
}

impl Builder {
    /// Builds every function: with its own command if it has one, else with Cargo in `base`, the manifest's
    /// directory. Copies the programs that Cargo has built to where the manifest expects them.
    pub(crate) fn build(&self, manifest: &Manifest, base: &Path) -> anyhow::Result<()> {
        let mut with_cargo = BTreeSet::new();
        for (name, function) in &manifest.functions {
            let Some(build) = &function.build else {
                with_cargo.insert(function.binary.clone());
                continue;
            };
            out::talk(format_args!("building {name}: {}", build.command));
            let mut shell = self.command("sh".into())?;
            if let Profile::Static(target) = &self.profile {
                shell.envs(target.prepare(base, &function.binary)?);
            }
            let status = shell
                .args(["-c", &build.command])
                .current_dir(base)
                .stdin(Stdio::null())
                .status()
                .context("cannot run sh")?;
            if !status.success() {
                bail!(
                    "functions.{name}.build.command failed ({status}): {}",
                    build.command
                );
            }
        }
        if with_cargo.is_empty() {
            Ok(())
        } else {
            self.build_with_cargo(&with_cargo, base)
        }
    }

    /// The path to which a binary is written.
    fn place(&self, base: &Path, binary: &Path) -> PathBuf {
        match &self.profile {
            Profile::Static(target) => target.place(base, binary),
            Profile::Release | Profile::Dev => base.join(binary),
        }
    }

    fn build_with_cargo(&self, binaries: &BTreeSet<PathBuf>, base: &Path) -> anyhow::Result<()> {
        let name_of = |binary: &Path| -> anyhow::Result<String> {
            let name = binary.file_name().and_then(|name| name.to_str());
            Ok(name
                .with_context(|| format!("{} has no file name", binary.display()))?
                .to_owned())
        };
        let names: BTreeSet<String> = binaries
            .iter()
            .map(|one| name_of(one))
            .collect::<Result<_, _>>()?;
        let mut made = BTreeMap::new();
        // Cargo runs once for each package. In a common run, each package would get the features that the others
        // enable.
        for (package, names) in packages(&names, base)? {
            made.extend(self.build_package(&package, &names, base)?);
        }
        for binary in binaries {
            let name = name_of(binary)?;
            let from = made
                .get(&name)
                .with_context(|| format!("cargo built no program named {name}"))?;
            put(from, &self.place(base, binary))?;
        }
        Ok(())
    }

    /// Builds programs of a package. Returns the name and path of each executable that Cargo reports.
    fn build_package(
        &self,
        package: &str,
        names: &BTreeSet<String>,
        base: &Path,
    ) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let list: Vec<&str> = names.iter().map(String::as_str).collect();
        let list = list.join(", ");
        let shown = base.display();
        out::talk(format_args!("building {list} with Cargo in {shown}"));
        let mut command = self.cargo(base)?;
        forget_package(&mut command);
        command.args(["--message-format", "json-render-diagnostics"]);
        command.args(["--package", package]);
        for name in names {
            command.args(["--bin", name]);
        }
        let mut child = command
            .current_dir(base)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo")?;
        let messages = child.stdout.take().context("cargo has no output")?;
        let made = BufReader::new(messages)
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| executable(&line))
            .collect();
        if !child.wait().context("cannot wait for cargo")?.success() {
            bail!("cargo could not build {list}; its reasons are above");
        }
        Ok(made)
    }

    /// The command `cargo build` for this profile.
    fn cargo(&self, base: &Path) -> anyhow::Result<Command> {
        if let Profile::Static(target) = &self.profile {
            return target.cargo(base);
        }
        let mut command = self.command(cargo_in_use())?;
        command.arg("build");
        if matches!(self.profile, Profile::Release) {
            command.arg("--release");
        }
        Ok(command)
    }

    /// A command that runs this program: by way of `hearth tied`, if compilers end with this process.
    fn command(&self, program: OsString) -> anyhow::Result<Command> {
        if !self.tied {
            return Ok(Command::new(program));
        }
        let mut command = Command::new(own_program()?);
        command.arg("tied").arg(program);
        Ok(command)
    }
}

/// `hearth tied PROGRAM ARGS`: sets SIGTERM as the signal that this process gets when its parent dies
/// (PR_SET_PDEATHSIG, prctl(2)). The setting survives exec. Then executes the program. Returns only if that fails.
pub(crate) fn become_program(words: &[OsString]) -> anyhow::Result<Infallible> {
    let (program, args) = words.split_first().context("tied wants a program")?;
    set_pdeathsig(Signal::SIGTERM)?;
    let error = Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// Removes the variables that describe a package, which this program has if `cargo run` started it. Build scripts
/// that read these variables, as ring's does, would run again whenever their values differ.
fn forget_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            command.env_remove(&name);
        }
    }
}

/// The Cargo that has started this program (`CARGO`), or the first one in `PATH`.
fn cargo_in_use() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}

/// Finds the package of each program: the package in `base`, or another one of its workspace.
fn packages(
    names: &BTreeSet<String>,
    base: &Path,
) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let told = Command::new(cargo_in_use())
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(base)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo; a function that it does not build needs a `build.command`")?;
    if !told.status.success() {
        bail!("cargo does not know what to build; its reasons are above");
    }
    let metadata: Value = serde_json::from_slice(&told.stdout).context("cargo metadata")?;
    let here = std::fs::canonicalize(base)?.join("Cargo.toml");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in names {
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let mut having: Vec<&Value> = packages.filter(|one| has_program(one, name)).collect();
        if let Some(own) = having
            .iter()
            .find(|one| one["manifest_path"].as_str().map(Path::new) == Some(&here))
        {
            having = vec![*own];
        }
        let packages: Vec<&str> = having
            .iter()
            .filter_map(|one| one["name"].as_str())
            .collect();
        match packages[..] {
            [package] => found
                .entry(package.to_owned())
                .or_default()
                .insert(name.clone()),
            [] => bail!(
                "cargo knows no program named {name}: neither the package in {} nor its workspace has \
                 one. A function that Cargo does not build needs a `build.command`",
                base.display()
            ),
            _ => bail!(
                "several packages have a program named {name}: {}",
                packages.join(", ")
            ),
        };
    }
    Ok(found)
}

fn has_program(package: &Value, name: &str) -> bool {
    let targets = package["targets"].as_array().into_iter().flatten();
    let is_program = |target: &Value| {
        let kinds = target["kind"].as_array().into_iter().flatten();
        target["name"] == name && kinds.into_iter().any(|kind| kind == "bin")
    };
    targets.into_iter().any(is_program)
}

/// The name and path of the executable in a message of Cargo, if the message reports one.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let place = message["executable"].as_str()?;
    Some((
        message["target"]["name"].as_str()?.to_owned(),
        PathBuf::from(place),
    ))
}

/// Copies a program to `to` and replaces the old file in one step, so that running processes keep the old one. Leaves
/// a file with the same contents alone, because a platform would take a replaced file for a new program.
fn put(from: &Path, to: &Path) -> anyhow::Result<()> {
    let parent = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let same = |a: &Path, b: &Path| Some(std::fs::read(a).ok()? == std::fs::read(b).ok()?);
    if same(from, to) == Some(true) {
        return Ok(());
    }
    // The name contains the process id, so that two builds at once do not use the same file.
    let fresh = to.with_extension(format!("{}.new", std::process::id()));
    std::fs::copy(from, &fresh)
        .and_then(|_| std::fs::rename(&fresh, to))
        .with_context(|| format!("cannot put {} to {}", from.display(), to.display()))
}
