//! Builds that all clones of the project share: a copy of the sources in the cache, and Cargo's target directory for
//! it.
//!
//! If each clone built for itself, it would compile everything, and programs would contain the clone's paths. In the
//! copy, only the files change that differ between two clones, so Cargo compiles only what depends on them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hearth_sys::lock::Lock;

use crate::cache;
use crate::sh::root;
use crate::tree::Tree;

/// A copy of the sources, and the directory in which Cargo builds it. No other process uses them until this is
/// dropped.
#[derive(Debug)]
pub struct SharedBuild {
    /// The root of the copied workspace.
    pub source: PathBuf,
    /// The directory for `CARGO_TARGET_DIR`.
    pub target: PathBuf,
    _alone: Lock,
}

impl SharedBuild {
    /// Opens the build of this name and copies the sources of this clone to it. Waits while another process uses it.
    pub fn open(name: &str, tree: &Tree) -> anyhow::Result<SharedBuild> {
        let place = cache::place()?.join("builds").join(name);
        let build = SharedBuild {
            _alone: cache::lock(&format!("build-{name}"), "builds the same")?,
            source: place.join("source"),
            target: place.join("target"),
        };
        let files: BTreeSet<&str> = tree.files().collect();
        copy(&root(), &files, &build.source)
            .with_context(|| format!("cannot copy the sources to {}", build.source.display()))?;
        Ok(build)
    }
}

/// The copy's own list of its files, so that files that were removed from the project are removed from the copy.
const LIST: &str = ".copied";

/// Makes the copy equal to these files below `from`. A file with the same contents keeps its modification time, by
/// which Cargo detects changes.
fn copy(from: &Path, files: &BTreeSet<&str>, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let list = to.join(LIST);
    let before = fs::read_to_string(&list).unwrap_or_default();
    // The list is written first, so that the next call knows all files even if this one is interrupted.
    let after: Vec<&str> = before.lines().chain(files.iter().copied()).collect();
    fs::write(&list, after.join("\n"))?;
    for gone in before.lines().filter(|name| !files.contains(name)) {
        match fs::remove_file(to.join(gone)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for name in files {
        let (original, copied) = (from.join(name), to.join(name));
        let is_same =
            fs::read(&copied).is_ok_and(|old| fs::read(&original).is_ok_and(|new| new == old));
        if is_same {
            continue;
        }
        if let Some(parent) = copied.parent() {
            fs::create_dir_all(parent)?;
        }
        // The copy has the permissions of the original, and a new modification time.
        let bytes = fs::read(&original)?;
        fs::write(&copied, bytes)?;
        fs::set_permissions(&copied, fs::metadata(&original)?.permissions())?;
    }
    let now: Vec<&str> = files.iter().copied().collect();
    fs::write(&list, now.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_what_differs_is_copied_and_what_is_gone_is_removed() {
        let place = std::env::temp_dir().join(format!("hearth-copy-{}", std::process::id()));
        let (one, other, to) = (place.join("one"), place.join("other"), place.join("to"));
        for (clone, changed) in [(&one, "1"), (&other, "2")] {
            fs::create_dir_all(clone.join("deep")).unwrap();
            fs::write(clone.join("same"), "same").unwrap();
            fs::write(clone.join("deep/changed"), changed).unwrap();
        }
        fs::write(one.join("gone"), "gone").unwrap();
        copy(&one, &BTreeSet::from(["same", "deep/changed", "gone"]), &to).unwrap();
        let old = SystemTime::UNIX_EPOCH;
        for name in ["same", "deep/changed"] {
            let file = fs::File::options().write(true).open(to.join(name)).unwrap();
            file.set_modified(old).unwrap();
        }
        copy(&other, &BTreeSet::from(["same", "deep/changed"]), &to).unwrap();
        let time = |name: &str| fs::metadata(to.join(name)).unwrap().modified().unwrap();
        assert_eq!(time("same"), old);
        assert!(time("deep/changed") > old);
        assert_eq!(fs::read_to_string(to.join("deep/changed")).unwrap(), "2");
        assert!(!to.join("gone").exists());
        fs::remove_dir_all(&place).unwrap();
    }
}
