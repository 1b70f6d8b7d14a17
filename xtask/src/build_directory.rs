//! Directories that Cargo builds in and that all clones of the project share, so that a fresh clone compiles the
//! standard library and other people's crates only once.
//!
//! Cargo takes a file for unchanged if it is not newer than what was built from it. Between two clones that is wrong: the
//! other clone's files may be different and older. So what was built of the project's own packages is forgotten whenever
//! another clone comes.
//!
//! This serves builds whose flags name no directory of the clone. With such a flag nothing could be shared.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cache;
use crate::sh::root;
use crate::tree::Tree;

/// The file in a build directory that names the clone whose packages were built there last.
const OWNER: &str = "built-for";

/// Where Cargo keeps what it knows of the packages that it has built, below `TARGET/PROFILE` and `PROFILE`.
const FINGERPRINTS: &str = ".fingerprint";

/// The build directory of this name, for this clone. Only one process may use it at a time.
pub fn build_directory(name: &str, tree: &Tree) -> anyhow::Result<PathBuf> {
    let directory = cache::place()?.join("target").join(name);
    let packages = tree.packages().iter();
    let packages: Vec<&str> = packages.map(|package| package.name.as_str()).collect();
    take(&directory, &root().to_string_lossy(), &packages)
        .with_context(|| format!("cannot build in {}", directory.display()))?;
    Ok(directory)
}

/// Makes a directory this owner's.
fn take(directory: &Path, owner: &str, packages: &[&str]) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    let mark = directory.join(OWNER);
    if fs::read_to_string(&mark).is_ok_and(|last| last == owner) {
        return Ok(());
    }
    // If this is interrupted, the directory belongs to nobody.
    if mark.exists() {
        fs::remove_file(&mark)?;
    }
    forget(directory, packages, 0)?;
    fs::write(&mark, owner)
}

/// Removes the fingerprints of packages, `PACKAGE-0123456789abcdef`, wherever there are some.
fn forget(directory: &Path, packages: &[&str], depth: usize) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        if directory.ends_with(FINGERPRINTS) {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let package = name.rsplit_once('-').map(|(package, _)| package);
            if package.is_some_and(|package| packages.contains(&package)) {
                fs::remove_dir_all(entry.path())?;
            }
        } else if depth < 3 {
            forget(&entry.path(), packages, depth + 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_clone_builds_the_project_s_own_packages_again_and_no_others() {
        let place = std::env::temp_dir().join(format!("hearth-builds-{}", std::process::id()));
        let fingerprints = place.join("x86_64-unknown-linux-gnu/guest/.fingerprint");
        let names = || {
            let entries = fs::read_dir(&fingerprints).unwrap();
            let mut names: Vec<String> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let packages = ["hearth", "hearth-sys"];
        let make = || {
            for name in ["hearth-01", "hearth-sys-02", "hearthless-03", "serde-04"] {
                fs::create_dir_all(fingerprints.join(name)).unwrap();
            }
        };
        make();
        take(&place, "/one", &packages).unwrap();
        assert_eq!(names(), ["hearthless-03", "serde-04"]);
        make();
        take(&place, "/one", &packages).unwrap();
        assert_eq!(names().len(), 4);
        take(&place, "/other", &packages).unwrap();
        assert_eq!(names(), ["hearthless-03", "serde-04"]);
        fs::remove_dir_all(&place).unwrap();
    }
}
