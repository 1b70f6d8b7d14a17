//! What static workers are built with, where the machine does not have it: the standard library's
//! sources for the nightly toolchain, and musl for the other architecture. By rustup, or from
//! Debian's packages, which are unpacked below the user's caches and change nothing of the system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::install;
use crate::sh::{run, say};

/// The architecture that is not this machine's, as Debian and as Rust call it.
const OTHER: (&str, &str) = ("arm64", "aarch64");

/// Where a snapshot of Debian's packages is asked for, in the order of trust.
const SUITES: [&str; 2] = ["sid", "forky"];

/// What comes from the system's own packages.
const NEEDS: &[install::Need] = &[
    ("cc", "gcc"),
    ("musl-gcc", "musl-tools"),
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("qemu-aarch64-static", "qemu-user-static"),
];

/// Puts everything in its place that is not there yet.
pub(crate) fn ensure() -> anyhow::Result<()> {
    install::ensure(NEEDS)?;
    if nightly().is_none() {
        let minimal = ["toolchain", "install", "nightly", "--profile", "minimal"];
        run("rustup", &minimal).context("static workers are built by a nightly toolchain")?;
    }
    let sysroot = nightly().context("rustup has no nightly toolchain")?;
    let sources = Path::new(&sysroot).join("lib/rustlib/src/rust");
    if !sources.join("library/std/Cargo.toml").is_file() {
        add_sources(&sources)?;
    }
    let cache = cache()?;
    let musl = cache.join("musl");
    let system = format!("/usr/lib/{}-linux-musl/libc.a", OTHER.1);
    let ours = musl.join(&system[1..]);
    if !Path::new(&system).is_file() && !ours.is_file() {
        let own = own_suites()?;
        let package = Repository::new(&cache.join("apt-musl"), &own, &["amd64", OTHER.0])?
            .download(&format!("musl-dev:{}", OTHER.0))?;
        unpack(&package, &musl)?;
        ensure!(ours.is_file(), "{} has no {system}", package.display());
    }
    Ok(())
}

/// The directory of the nightly toolchain.
fn nightly() -> Option<String> {
    said("rustup", &["run", "nightly", "rustc", "--print", "sysroot"])
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
    let cache = cache()?;
    let unpacked = cache.join("rust-src");
    if find_library(&unpacked).is_none() {
        let suites = SUITES.iter().find_map(|suite| {
            let stanza = own_stanza(suite)?;
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

/// `usr/src/rustc-VERSION/library` of Debian's package.
fn find_library(unpacked: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(unpacked.join("usr/src")).ok()?.flatten();
    let libraries = versions.map(|version| version.path().join("library"));
    libraries
        .into_iter()
        .find(|library| library.join("std/Cargo.toml").is_file())
}

/// Packages of Debian, looked at beside the system's own lists.
struct Repository {
    directory: PathBuf,
    options: Vec<String>,
}

impl Repository {
    fn new(directory: &Path, stanza: &str, architectures: &[&str]) -> anyhow::Result<Repository> {
        for place in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(directory.join(place))?;
        }
        fs::write(directory.join("parts/hearth.sources"), stanza)?;
        let shown = directory.display();
        let mut options = vec![
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={shown}/parts"),
            format!("Dir::State::lists={shown}/lists"),
            format!("Dir::Cache={shown}/cache"),
            "APT::Sandbox::User=root".to_owned(),
        ];
        options.extend(
            architectures
                .iter()
                .map(|one| format!("APT::Architectures::={one}")),
        );
        let repository = Repository {
            directory: directory.to_owned(),
            options,
        };
        repository.apt(&["update"])?;
        Ok(repository)
    }

    /// Downloads a package; its file.
    fn download(&self, package: &str) -> anyhow::Result<PathBuf> {
        self.apt(&["download", package])?;
        let files = fs::read_dir(&self.directory)?.flatten();
        let mut packages = files.map(|file| file.path());
        packages
            .find(|path| path.extension().is_some_and(|end| end == "deb"))
            .with_context(|| format!("apt-get downloaded no {package}"))
    }

    fn apt(&self, args: &[&str]) -> anyhow::Result<()> {
        say(&format!(
            "apt-get {} (lists and packages below {})",
            args.join(" "),
            self.directory.display()
        ));
        let mut command = Command::new("apt-get");
        command.arg("-q").current_dir(&self.directory);
        for option in &self.options {
            command.args(["-o", option]);
        }
        let status = command.args(args).status().context("cannot run apt-get")?;
        ensure!(
            status.success(),
            "apt-get {} failed: {status}",
            args.join(" ")
        );
        Ok(())
    }
}

/// The system's own first source of packages.
fn own_suites() -> anyhow::Result<String> {
    let path = "/etc/apt/sources.list.d/debian.sources";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let first = text.split("\n\n").next().unwrap_or_default();
    Ok(format!("{first}\n"))
}

/// The same with another suite.
fn own_stanza(suite: &str) -> Option<String> {
    let own = own_suites().ok()?;
    let lines = own.lines().map(|line| match line.starts_with("Suites:") {
        true => format!("Suites: {suite}\n"),
        false => format!("{line}\n"),
    });
    Some(lines.collect())
}

fn unpack(package: &Path, place: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(place)?;
    let (from, to) = (package.to_string_lossy(), place.to_string_lossy());
    run("dpkg-deb", &["-x", &from, &to])?;
    fs::remove_file(package)?;
    Ok(())
}

/// Where slow and large products are kept between runs.
fn cache() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let own = || std::env::home_dir().map(|home| home.join(".cache"));
    let Some(cache) = named.or_else(own) else {
        bail!("no home directory");
    };
    Ok(cache.join("hearth"))
}

fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
