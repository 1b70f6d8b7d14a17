//! Installs QEMU, if the machine has none that is new enough.

use anyhow::{Context, ensure};

use crate::cache;
use crate::debian::{self, Repository};
use crate::install;
use crate::needs::QEMU;
use crate::sh::{said, say};

/// The first version with `raspi4b`. Debian 12 has an older one, and a newer one in its backports.
const VERSION: u32 = 9;

/// Installs QEMU for both architectures, if it is missing or too old.
pub fn ensure() -> anyhow::Result<()> {
    if QEMU.iter().all(|(program, _)| is_new_enough(program)) {
        return Ok(());
    }
    let packages: Vec<&str> = QEMU.iter().map(|(_, package)| *package).collect();
    if let Err(error) = from_backports(&packages) {
        say(&format!("no QEMU from backports: {error:#}"));
        install::ensure(QEMU)?;
    }
    for (program, package) in QEMU {
        ensure!(
            is_new_enough(program),
            "{program} of at least version {VERSION} is needed, and {package} brings no such"
        );
    }
    Ok(())
}

fn from_backports(packages: &[&str]) -> anyhow::Result<()> {
    let suite = format!("{}-backports", debian::own_suite()?);
    // In addition to the system's own suites, which have the dependencies.
    let sources = format!(
        "{}\n{}",
        debian::own_sources()?.trim_end(),
        format_args!("\n{}", debian::stanza_of(&suite)?)
    );
    let architecture = said("dpkg", &["--print-architecture"]).context("not a Debian system")?;
    let directory = cache::place()?.join("apt-backports");
    let repository = Repository::new(&directory, &sources, &[&architecture])?;
    repository.install(&suite, packages)
}

fn is_new_enough(program: &str) -> bool {
    said(program, &["--version"]).is_some_and(|text| version(&text) >= Some(VERSION))
}

/// Parses the first number of `QEMU emulator version 10.0.2 (Debian ...)`.
fn version(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("version ")?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_qemu_says() {
        let text = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2~bpo12+1)\nCopyright";
        assert_eq!(version(text), Some(10));
        assert_eq!(version("bash: not found"), None);
    }
}
