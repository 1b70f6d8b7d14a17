//! Debian packages, including those of other suites, from package lists in a separate directory, so that the system's
//! own package sources stay unchanged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::install;
use crate::sh::{run, say};

/// The file with the system's own package sources.
const OWN: &str = "/etc/apt/sources.list.d/debian.sources";

/// Package lists in a separate directory.
pub struct Repository {
    directory: PathBuf,
    options: Vec<String>,
}

impl Repository {
    /// Downloads the package lists that `sources` names, in the format of deb822 stanzas.
    pub fn new(
        directory: &Path,
        sources: &str,
        architectures: &[&str],
    ) -> anyhow::Result<Repository> {
        for place in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(directory.join(place))?;
        }
        fs::write(directory.join("parts/hearth.sources"), sources)?;
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
        repository.apt(&[], &["update"])?;
        Ok(repository)
    }

    /// Downloads a package, and returns the path of its file.
    pub fn download(&self, package: &str) -> anyhow::Result<PathBuf> {
        self.apt(&[], &["download", package])?;
        let files = fs::read_dir(&self.directory)?.flatten();
        let mut packages = files.map(|file| file.path());
        packages
            .find(|path| path.extension().is_some_and(|end| end == "deb"))
            .with_context(|| format!("apt-get downloaded no {package}"))
    }

    /// Installs packages, from this suite if it has them.
    pub fn install(&self, suite: &str, packages: &[&str]) -> anyhow::Result<()> {
        let Some(root) = install::root() else {
            bail!("as root: apt-get install -t {suite} {}", packages.join(" "));
        };
        if !install::agreed(&format!("install {}", packages.join(", ")))? {
            bail!("nothing was installed");
        }
        let install = ["install", "-y", "--no-install-recommends", "-t", suite];
        self.apt(root, &[&install[..], packages].concat())
    }

    fn apt(&self, root: &[&str], args: &[&str]) -> anyhow::Result<()> {
        say(&format!(
            "apt-get {} (lists and packages below {})",
            args.join(" "),
            self.directory.display()
        ));
        let words = [root, &["apt-get", "-q"]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(&self.directory);
        command.env("DEBIAN_FRONTEND", "noninteractive");
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

/// Returns the system's package sources.
pub fn own_sources() -> anyhow::Result<String> {
    fs::read_to_string(OWN).with_context(|| format!("cannot read {OWN}"))
}

/// Returns the first stanza of the system's sources, which is Debian itself.
pub fn own_stanza() -> anyhow::Result<String> {
    let sources = own_sources()?;
    let first = sources.split("\n\n").next().unwrap_or_default();
    Ok(format!("{first}\n"))
}

/// Returns the first stanza with another suite.
pub fn stanza_of(suite: &str) -> anyhow::Result<String> {
    let own = own_stanza()?;
    let lines = own.lines().map(|line| match line.starts_with("Suites:") {
        true => format!("Suites: {suite}\n"),
        false => format!("{line}\n"),
    });
    Ok(lines.collect())
}

/// Returns the system's suite, such as `bookworm`.
pub fn own_suite() -> anyhow::Result<String> {
    let own = own_stanza()?;
    let suites = own.lines().find_map(|line| line.strip_prefix("Suites:"));
    let suite = suites.and_then(|suites| suites.split_whitespace().next());
    Ok(suite
        .with_context(|| format!("{OWN} begins with no suite"))?
        .to_owned())
}

/// Unpacks a package below a directory, and removes the package file.
pub fn unpack(package: &Path, place: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(place)?;
    let (from, to) = (package.to_string_lossy(), place.to_string_lossy());
    run("dpkg-deb", &["-x", &from, &to])?;
    fs::remove_file(package)?;
    Ok(())
}
