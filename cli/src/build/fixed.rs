//! `hearth build`: builds static workers, for this machine or another.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, bail, ensure};
use hearth_manifest::Manifest;
use hearth_supervisor::load::{base, load};
use serde_json::json;

use super::elf::Program;
use super::way::{self, Arch, Tools, Way};
use super::{Builder, Profile, cargo_in_use};
use crate::args::Build;
use crate::out::{self, Outcome};

/// The target of a static build, and how to build for it.
#[derive(Clone, Debug)]
pub(crate) struct Static {
    arch: Arch,
    options: Options,
    way: Way,
}

/// What is left out of programs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Leave out the code that handles panics, and optimise for size alone.
    smallest: bool,
    /// Leave out the default features of the functions' packages.
    bare: bool,
}

pub(crate) fn build(args: &Build) -> anyhow::Result<Outcome> {
    let parsed = match load(&args.manifest) {
        Ok(parsed) => parsed,
        Err(error) => {
            out::talk(format_args!("hearth: {:#}", anyhow::Error::from(error)));
            return Ok(Outcome::BadManifest);
        }
    };
    let here = Arch::of_this_machine();
    let arch = args.arch.or(here);
    let arch = arch.context("not an architecture of the appliance; --arch names one that is")?;
    let options = Options {
        smallest: args.smallest,
        bare: args.no_default_features,
    };
    let built = functions(&parsed.manifest, &base(&args.manifest), arch, options)?;
    if args.json {
        let list: Vec<_> = built
            .iter()
            .map(|one| {
                json!({
                    "function": one.function, "binary": one.place, "arch": arch.name(), "bytes": one.bytes
                })
            })
            .collect();
        out::data(serde_json::Value::from(list))?;
        return Ok(Outcome::Done);
    }
    let width = built.iter().map(|one| one.function.len());
    let width = width.max().unwrap_or(0);
    for one in &built {
        let kib = one.bytes.div_ceil(1024);
        let (name, arch) = (&one.function, arch.name());
        let place = one.place.display();
        out::data(format_args!("{name:width$}  {kib:>6} KiB  {arch}  {place}"))?;
    }
    Ok(Outcome::Done)
}

/// A function's program, checked for its target.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) function: String,
    /// The path of the program.
    pub(crate) place: PathBuf,
    pub(crate) bytes: u64,
}

/// Builds every function as a static program, and checks each result.
pub(crate) fn functions(
    manifest: &Manifest,
    base: &Path,
    arch: Arch,
    options: Options,
) -> anyhow::Result<Vec<Built>> {
    let target = Static::find(arch, options)?;
    let builder = Builder {
        profile: Profile::Static(target),
        tied: false,
    };
    builder.build(manifest, base)?;
    let each = manifest.functions.iter().map(|(name, function)| {
        let place = place(arch, base, &function.binary);
        if function.build.is_some() && !place.exists() {
            bring_script(&base.join(&function.binary), &place)?;
        }
        built(name, place, arch)
    });
    each.collect()
}

/// Finds existing programs without building any: at the target's path, or else at the manifest's path, where a script
/// that runs on every processor is.
#[cfg(feature = "image")]
pub(crate) fn found(manifest: &Manifest, base: &Path, arch: Arch) -> anyhow::Result<Vec<Built>> {
    let each = manifest.functions.iter().map(|(name, function)| {
        let own = place(arch, base, &function.binary);
        let place = match own.exists() {
            true => own,
            false => base.join(&function.binary),
        };
        built(name, place, arch)
    });
    each.collect()
}

fn built(function: &str, place: PathBuf, arch: Arch) -> anyhow::Result<Built> {
    let bytes = check(&place, arch).with_context(|| format!("functions.{function}"))?;
    Ok(Built {
        function: function.to_owned(),
        place,
        bytes,
    })
}

/// Copies a script to the directory of the target's programs. A script is the same for every processor, so the build
/// command need not write it twice.
fn bring_script(from: &Path, to: &Path) -> anyhow::Result<()> {
    let is_script = matches!(Program::of(from), Ok(Program::Other));
    ensure!(
        is_script,
        "{}: the build command made nothing there; it finds this path in HEARTH_BINARY, and the \
         architecture in HEARTH_ARCH",
        to.display()
    );
    super::put(from, to)
}

impl Static {
    /// Chooses how to build for this architecture, and prints the choice.
    fn find(arch: Arch, options: Options) -> anyhow::Result<Static> {
        let (way, wanted) = way::choose(arch, Tools::find(arch), Arch::of_this_machine());
        let wanted = wanted.join(",\n  ");
        let Some(way) = way else {
            bail!(
                "cannot build for {0} here. `rustup target add {0}-unknown-linux-musl` would do; the best \
                 way wants, and does not find:\n  {wanted}",
                arch.name()
            );
        };
        out::talk(format_args!(
            "for {}: static, {}",
            arch.name(),
            way.describe()
        ));
        if !wanted.is_empty() {
            out::talk(format_args!(
                "workers would be far smaller if there were:\n  {wanted}"
            ));
        }
        Ok(Static { arch, options, way })
    }

    /// The path to which a binary is written.
    pub(super) fn place(&self, base: &Path, binary: &Path) -> PathBuf {
        place(self.arch, base, binary)
    }

    /// Prepares the path to which a build command writes its binary. Returns the environment variables for the
    /// command.
    pub(super) fn prepare(
        &self,
        base: &Path,
        binary: &Path,
    ) -> anyhow::Result<[(&'static str, OsString); 2]> {
        let place = std::path::absolute(self.place(base, binary))?;
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        // The binary of an earlier build would be mistaken for this one's. This machine's binary is kept, because a
        // platform may serve it.
        if place != std::path::absolute(base.join(binary))? {
            remove(&place).with_context(|| format!("cannot remove {}", place.display()))?;
        }
        Ok([
            ("HEARTH_ARCH", self.arch.name().into()),
            ("HEARTH_BINARY", place.into()),
        ])
    }

    /// The command `cargo build`, with the Cargo in use unless the way has its own.
    pub(super) fn cargo(&self, base: &Path) -> anyhow::Result<Command> {
        let base = fs::canonicalize(base)?;
        let scratch = base.join(".hearth/build").join(self.arch.name());
        if let Some((file, name)) = self.way.scratch() {
            fs::create_dir_all(&scratch)
                .and_then(|()| link(file, &scratch.join(name)))
                .with_context(|| format!("cannot write to {}", scratch.display()))?;
        }
        // RUSTFLAGS in the environment would replace the flags of `call`, so they are added to those.
        let more = std::env::var("RUSTFLAGS").unwrap_or_default();
        let more: Vec<String> = more.split_whitespace().map(str::to_owned).collect();
        let mut hidden = self.way.hidden();
        hidden.extend(home_of_cargo().map(|home| home.join("registry/src")));
        hidden.push(base);
        let call = self
            .way
            .call(self.arch, self.options.smallest, &scratch, &more, &hidden);
        let mut command = Command::new(call.cargo.map_or_else(cargo_in_use, OsString::from));
        command
            .arg("build")
            .args(call.args)
            .args(self.options.bare.then_some("--no-default-features"))
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        if let Some(rustc) = call.rustc {
            command.env("RUSTC", rustc);
        }
        // C dependencies are compiled by the compiler that links. Otherwise their build scripts look for a musl-gcc
        // of the architecture, which Debian does not have. A compiler that the user names is kept.
        let name = format!("CC_{}_unknown_linux_musl", self.arch.name());
        if let (Some(compiler), None) = (self.way.compiler(), std::env::var_os(&name)) {
            command.env(name, compiler);
        }
        Ok(command)
    }
}

/// The path of a binary: the manifest's own for this machine's architecture, else below `dist/ARCH`.
fn place(arch: Arch, base: &Path, binary: &Path) -> PathBuf {
    // Leave out a leading `.`, for shorter paths in messages.
    let base = base.strip_prefix(".").unwrap_or(base);
    match Arch::of_this_machine() == Some(arch) {
        true => base.join(binary),
        false => base.join("dist").join(arch.name()).join(binary),
    }
}

/// Checks that a program is for this processor and needs no shared libraries. Returns its size in bytes.
fn check(place: &Path, arch: Arch) -> anyhow::Result<u64> {
    let shown = place.display();
    let program = Program::of(place).with_context(|| format!("cannot read {shown}"))?;
    match program {
        Program::Elf { machine, .. } if machine != arch.machine() => {
            bail!("{shown} is a program for another processor (ELF machine {machine})")
        }
        Program::Elf {
            is_static: false, ..
        } => bail!("{shown} needs shared libraries, which the appliance does not have"),
        Program::Elf { .. } => {}
        Program::Other => out::talk(format_args!(
            "{shown} is a script: what runs it must be there, too"
        )),
    }
    Ok(fs::metadata(place)?.len())
}

fn link(file: &Path, place: &Path) -> io::Result<()> {
    if fs::read_link(place).is_ok_and(|there| there == file) {
        return Ok(());
    }
    remove(place)?;
    symlink(file, place)
}

/// Removes a file, if it exists.
fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Cargo's home directory, below which Cargo keeps the sources of dependencies.
fn home_of_cargo() -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}
