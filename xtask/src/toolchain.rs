//! Installs what building static workers needs, if the machine lacks it: the standard library's sources for the
//! nightly toolchain, and musl for aarch64. They come from rustup, or from Debian's packages, which are unpacked
//! below the user's cache and do not change the system.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use crate::cache;
use crate::debian::{Repository, own_stanza, stanza_of, unpack};
use crate::key::hex;
use crate::sh::{run, said, say};
use crate::{install, needs};

/// The architecture whose musl may have to be downloaded, by Debian's and Rust's name.
const OTHER: (&str, &str) = ("arm64", "aarch64");

/// The suites that are searched for the package `rust-src`, in this order.
const SUITES: [&str; 2] = ["sid", "forky"];

/// Installs everything that is missing.
pub fn ensure() -> anyhow::Result<()> {
    install::ensure(needs::TOOLCHAIN)?;
    if nightly().is_none() {
        let minimal = ["toolchain", "install", "nightly", "--profile", "minimal"];
        run("rustup", &minimal).context("static workers are built by a nightly toolchain")?;
    }
    let sysroot = nightly().context("rustup has no nightly toolchain")?;
    let sources = Path::new(&sysroot).join("lib/rustlib/src/rust");
    if !sources.join("library/std/Cargo.toml").is_file() {
        add_sources(&sources)?;
    }
    fetch_dependencies(&sources.join("library/Cargo.toml"))?;
    let cache = cache::place()?;
    let musl = cache.join("musl");
    let system = format!("/usr/lib/{}-linux-musl/libc.a", OTHER.1);
    let ours = musl.join(&system[1..]);
    if !Path::new(&system).is_file() && !ours.is_file() {
        let own = own_stanza()?;
        let package = Repository::new(&cache.join("apt-musl"), &own, &["amd64", OTHER.0])?
            .download(&format!("musl-dev:{}", OTHER.0))?;
        unpack(&package, &musl)?;
        ensure!(ours.is_file(), "{} has no {system}", package.display());
    }
    Ok(())
}

/// Downloads the standard library's own dependencies, so that a later build of it needs no registry.
fn fetch_dependencies(library: &Path) -> anyhow::Result<()> {
    let library = library.to_string_lossy();
    let fetch = ["run", "nightly", "cargo", "fetch", "--quiet", "--locked"];
    let there = [&fetch[..], &["--offline", "--manifest-path", &library]].concat();
    if said("rustup", &there).is_some() {
        return Ok(());
    }
    let fetched = run(
        "rustup",
        &[&fetch[..], &["--manifest-path", &library]].concat(),
    );
    fetched.context("the standard library's own dependencies cannot be had")
}

/// Returns the directory of the nightly toolchain.
pub fn nightly() -> Option<String> {
    said("rustup", &["run", "nightly", "rustc", "--print", "sysroot"])
}

/// Returns a text that changes whenever the tools for static programs change.
pub(crate) fn identity() -> String {
    let Some(sysroot) = nightly() else {
        return "no nightly toolchain".to_owned();
    };
    let library = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    let library = fs::canonicalize(library).unwrap_or_default();
    let musl = format!("/usr/lib/{}-linux-musl/libc.a", OTHER.1);
    let own = cache::place()
        .unwrap_or_default()
        .join("musl")
        .join(&musl[1..]);
    let archives = [
        PathBuf::from("/usr/lib/x86_64-linux-musl/libc.a"),
        musl.into(),
        own,
    ];
    let archives = archives.map(|path| hex(&Sha256::digest(fs::read(path).unwrap_or_default())));
    let said = |program: &str, args: &[&str]| said(program, args).unwrap_or_default();
    [
        said("rustup", &["run", "nightly", "rustc", "-vV"]),
        // `usr/src/rustc-VERSION/library` of Debian's package, or the toolchain's own directory.
        library.display().to_string(),
        archives.join("\n"),
        said("aarch64-linux-gnu-gcc", &["--version"]),
        said("dpkg-query", &["-W", "libc6-dev", "libc6-dev-arm64-cross"]),
    ]
    .join("\n")
}

fn add_sources(place: &Path) -> anyhow::Result<()> {
    if run(
        "rustup",
        &["component", "add", "rust-src", "--toolchain", "nightly"],
    )
    .is_ok()
    {
        return Ok(());
    }
    say("rustup has no rust-src for this nightly; taking Debian's");
    let cache = cache::place()?;
    let unpacked = cache.join("rust-src");
    if find_library(&unpacked).is_none() {
        let suites = SUITES.iter().find_map(|suite| {
            let stanza = stanza_of(suite).ok()?;
            let repository = Repository::new(&cache.join("apt-rust-src"), &stanza, &["amd64"]);
            repository.and_then(|one| one.download("rust-src")).ok()
        });
        let package = suites.context("no suite of Debian gives rust-src")?;
        unpack(&package, &unpacked)?;
    }
    let library = find_library(&unpacked).context("rust-src has no library")?;
    fs::create_dir_all(place)?;
    std::os::unix::fs::symlink(&library, place.join("library"))
        .with_context(|| format!("cannot link {} to {}", place.display(), library.display()))
}

/// Finds `usr/src/rustc-VERSION/library` of Debian's package.
fn find_library(unpacked: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(unpacked.join("usr/src")).ok()?.flatten();
    let libraries = versions.map(|version| version.path().join("library"));
    libraries
        .into_iter()
        .find(|library| library.join("std/Cargo.toml").is_file())
}
