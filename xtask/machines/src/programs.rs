//! Builds static programs for guests of either architecture. They are linked with glibc, because that needs only the
//! toolchain on x86_64. `hearth build` builds the workers for the appliance.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use hearth_image::Arch;
use serde_json::Value;

use xtask::cache::Product;
use xtask::key::{Key, KeyBuilder, Tool};
use xtask::sh::{root, said, say};
use xtask::shared_build::SharedBuild;
use xtask::tree::{Scope, Tree};
use xtask::{clock, timings, toolchain};

/// The kind of a package's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A program.
    Bin,
    /// An integration test: a program with the standard library's test harness.
    Test,
}

/// A program to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Cargo's name of the package.
    pub(crate) package: &'static str,
    /// The kind of target.
    pub(crate) kind: Kind,
    /// The target's name.
    pub(crate) name: &'static str,
}

impl Program {
    const fn bin(package: &'static str, name: &'static str) -> Program {
        Program {
            package,
            kind: Kind::Bin,
            name,
        }
    }

    const fn test(package: &'static str, name: &'static str) -> Program {
        Program {
            package,
            kind: Kind::Test,
            name,
        }
    }
}

/// The platform.
pub(crate) const HEARTH: Program = Program::bin("hearth", "hearth");
/// The sandbox helper, from which sandboxes are started.
pub(crate) const CELL: Program = Program::bin("hearth", "hearth-cell");
/// A function.
pub(crate) const HELLO: Program = Program::bin("hello", "hello");
/// A function that attacks.
pub(crate) const HOSTILE: Program = Program::bin("hearth-hostile", "hostile");
/// The appliance's init.
pub(crate) const INIT: Program = Program::bin("hearth-init", "hearth-init");
/// The appliance's network daemon.
pub(crate) const NET: Program = Program::bin("hearth-init", "hearth-net");
/// The init of machines that run tests. The time of its start determines all time limits.
pub(crate) const GUEST_INIT: Program = Program::bin("hearth-guest", "guest-init");
/// A stand-in for the platform.
pub(crate) const PLATFORM: Program = Program::bin("hearth-guest", "guest-platform");
/// The saboteur, which replaces the platform's program.
pub(crate) const SABOTEUR: Program = Program::bin("hearth-guest", "saboteur");
/// Reports how the system was started.
pub(crate) const BOOT_REPORT: Program = Program::bin("hearth-guest", "boot-report");
/// Tests of the machine itself.
pub(crate) const SMOKE: Program = Program::test("hearth-guest", "smoke");
/// Tests of sandboxes.
pub(crate) const ATTACKS: Program = Program::test("hearth", "attacks");
/// Tests of disks that are written.
pub(crate) const DISK: Program = Program::test("hearth", "disk");

/// The programs that [`build`] always builds together. The features of a library depend on everything that is built
/// with it, so another selection would recompile most libraries.
const ALL: &[Program] = &[
    HEARTH,
    CELL,
    HELLO,
    HOSTILE,
    INIT,
    NET,
    GUEST_INIT,
    PLATFORM,
    SABOTEUR,
    BOOT_REPORT,
    SMOKE,
    ATTACKS,
    DISK,
];

/// Builds [`ALL`] with one run of Cargo in the profile `guest`, unless the cache has programs of the same sources.
/// Returns the paths of `programs`, in their order.
pub(crate) fn build(arch: Arch, programs: &[Program]) -> anyhow::Result<Vec<PathBuf>> {
    let names: Vec<&str> = programs.iter().map(|program| program.name).collect();
    let tree = Tree::read(&root())?;
    let product = Product::new(&format!("programs-{arch}"), &key(arch, &tree)?)?;
    product.files_or(&names, &format!("programs-{arch}"), || {
        let built = timings::build(&format!("static programs, {arch}"), || compile(arch, &tree))?;
        Ok(ALL.iter().map(|program| program.name).zip(built).collect())
    })
}

/// The files that determine how the programs are built.
const RECIPE: &[&str] = &["xtask/machines/src/programs.rs", "xtask/src/toolchain.rs"];

/// Returns the hash of everything that [`ALL`] is built from.
fn key(arch: Arch, tree: &Tree) -> anyhow::Result<Key> {
    let packages: Vec<&str> = ALL.iter().map(|program| program.package).collect();
    let key = KeyBuilder::new("guest programs")
        .add("arch", arch.name().as_bytes())
        .add("programs", format!("{ALL:?}").as_bytes())
        .add_tool(Tool::Rust)
        .add_tool(Tool::StaticRust);
    let scope = Scope::new(&packages).with_files(RECIPE);
    Ok(tree.add_to(key, &scope)?.finish())
}

/// Builds [`ALL`], and returns the paths in the same order.
fn compile(arch: Arch, tree: &Tree) -> anyhow::Result<Vec<PathBuf>> {
    let begun = Instant::now();
    let (mut cargo, way) = cargo(arch)?;
    say(&format!("static programs for {}, {way}", arch.name()));
    let packages: BTreeSet<&str> = ALL.iter().map(|one| one.package).collect();
    for package in packages {
        cargo.args(["--package", package]);
    }
    for program in ALL {
        let kind = match program.kind {
            Kind::Bin => "--bin",
            Kind::Test => "--test",
        };
        cargo.args([kind, program.name]);
    }
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let shared = SharedBuild::open(&format!("programs-{arch}"), tree)?;
    let mut child = cargo
        .env("CARGO_TARGET_DIR", &shared.target)
        .current_dir(&shared.source)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let messages = child.stdout.take().context("cargo has no output")?;
    let mut built = Vec::new();
    for line in BufReader::new(messages).lines() {
        built.extend(executable(&line?));
    }
    let status = child.wait().context("cannot wait for cargo")?;
    ensure!(
        status.success(),
        "cargo could not build for {}; its reasons are above",
        arch.name()
    );
    let place = |program: &Program| {
        let found = built.iter().find(|one| one.is(program));
        found
            .map(|one| one.place.clone())
            .with_context(|| format!("cargo built no {}", program.name))
    };
    let places = ALL.iter().map(place).collect::<Result<_, _>>();
    say(&format!(
        "static programs for {}: built in {}",
        arch.name(),
        clock::took(begun)
    ));
    places
}

/// Returns a `cargo build` command for static programs, and a description of the standard library that it uses.
fn cargo(arch: Arch) -> anyhow::Result<(Command, &'static str)> {
    let triple = format!("{}-unknown-linux-gnu", arch.name());
    // A static glibc cannot look up users and hosts, about which the linker warns at length. No test in a guest does
    // such lookups.
    let mut flags = ["-Ctarget-feature=+crt-static", "-Alinker_messages"]
        .map(str::to_owned)
        .to_vec();
    if arch.name() != std::env::consts::ARCH {
        flags.push(format!("-Clinker={}-linux-gnu-gcc", arch.name()));
    }
    let in_use = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let (mut command, way) = match has_library(&triple) {
        true => (
            Command::new(in_use),
            "with the toolchain's standard library",
        ),
        // The standard library is then built from source.
        false => {
            let nightly = toolchain::nightly().context("rustup has no nightly toolchain")?;
            let nightly = PathBuf::from(nightly);
            let mut command = Command::new(nightly.join("bin/cargo"));
            command.env("RUSTC", nightly.join("bin/rustc"));
            (
                command,
                "with the standard library built for it by the nightly toolchain",
            )
        }
    };
    command.args(["build", "--profile", "guest", "--target", &triple]);
    if command.get_envs().any(|(name, _)| name == "RUSTC") {
        command.arg("-Zbuild-std=std,panic_unwind,test");
    }
    // JSON's notation for a list of strings is valid in TOML, too.
    let flags = Value::from(flags);
    command.args(["--config", &format!("target.{triple}.rustflags={flags}")]);
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    Ok((command, way))
}

/// Returns whether the toolchain in use has the standard library for a target.
fn has_library(triple: &str) -> bool {
    let place = said("rustc", &["--print", "target-libdir", "--target", triple]);
    place.is_some_and(|place| PathBuf::from(place).is_dir())
}

/// An artifact that Cargo reports.
#[derive(Debug)]
struct Built {
    name: String,
    kinds: Vec<String>,
    place: PathBuf,
}

impl Built {
    fn is(&self, program: &Program) -> bool {
        let kind = match program.kind {
            Kind::Bin => "bin",
            Kind::Test => "test",
        };
        self.name == program.name && self.kinds.iter().any(|one| one == kind)
    }
}

fn executable(line: &str) -> Option<Built> {
    let message: Value = serde_json::from_str(line).ok()?;
    let kinds = message["target"]["kind"].as_array()?.iter();
    Some(Built {
        name: message["target"]["name"].as_str()?.to_owned(),
        kinds: kinds
            .filter_map(|kind| Some(kind.as_str()?.to_owned()))
            .collect(),
        place: message["executable"].as_str()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_among_what_cargo_says() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"smoke"},
            "executable":"/target/smoke-1"}"#
            .replace('\n', "");
        let built = executable(&line).unwrap();
        assert_eq!(built.place, PathBuf::from("/target/smoke-1"));
        assert!(built.is(&SMOKE));
        assert!(!built.is(&HEARTH));
        let library = r#"{"target":{"kind":["lib"],"name":"a"},"executable":null}"#;
        assert!(executable(library).is_none());
    }
}
