//! The cache for large products that are slow to make.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use hearth_sys::lock::{Lock, Taken, take};

use crate::key::Key;
use crate::sh::say;

/// Returns `hearth` in the user's cache directory (XDG Base Directory Specification).
pub fn place() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let own = || std::env::home_dir().map(|home| home.join(".cache"));
    let Some(cache) = named.or_else(own) else {
        bail!("no home directory");
    };
    Ok(cache.join("hearth"))
}

/// Takes the lock of this name, and waits while another process holds it. `what` says what the holder is doing, for
/// the message.
pub fn lock(name: &str, what: &str) -> anyhow::Result<Lock> {
    let directory = place()?;
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let path = directory.join(format!("{name}.lock"));
    let mut reported = false;
    loop {
        match take(&path).with_context(|| format!("cannot lock {}", path.display()))? {
            Taken::Ours(lock) => return Ok(lock),
            Taken::Held(by) if !reported => say(&format!("process {by} {what}; waiting")),
            Taken::Held(_) => {}
        }
        reported = true;
        // The kernel sends no event when the lock becomes free.
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The number of products of one kind that are kept: one for the current work, and others for branches and clones.
const KEPT_PRODUCTS: usize = 6;

/// A directory of files that were all made from the inputs of one key.
#[derive(Clone, Debug)]
pub struct Product {
    kind: PathBuf,
    directory: PathBuf,
}

impl Product {
    /// Creates a handle for the product of this kind with this key, whether the product exists or not.
    pub fn new(kind: &str, key: &Key) -> anyhow::Result<Product> {
        let kind = place()?.join("products").join(kind);
        let directory = kind.join(key.short());
        Ok(Product { kind, directory })
    }

    /// Returns one of the product's files, if it exists.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        let file = self.directory.join(name);
        file.is_file().then_some(file)
    }

    /// Returns these files, in this order, if all of them exist, and marks the product as used.
    pub fn files(&self, names: &[&str]) -> Option<Vec<PathBuf>> {
        let files: Option<Vec<PathBuf>> = names.iter().map(|name| self.file(name)).collect();
        if files.is_some() {
            // A failure only makes the product look older than it is.
            let _ = fs::write(self.directory.join(USED), "");
        }
        files
    }

    /// Returns these files, in this order. If the product does not exist, `make` makes the files and returns their
    /// names and paths. Other processes that need the same product wait meanwhile, because of the lock `lock_name`.
    pub fn files_or(
        &self,
        names: &[&str],
        lock_name: &str,
        make: impl FnOnce() -> anyhow::Result<Vec<(&'static str, PathBuf)>>,
    ) -> anyhow::Result<Vec<PathBuf>> {
        if let Some(files) = self.files(names) {
            return Ok(files);
        }
        let _alone = lock(lock_name, "builds the same")?;
        if let Some(files) = self.files(names) {
            return Ok(files);
        }
        let made = make()?;
        let made: Vec<(&str, &Path)> = made
            .iter()
            .map(|(name, path)| (*name, path.as_path()))
            .collect();
        self.keep(&made)?;
        let files = self.files(names);
        files.with_context(|| format!("not all of {} were made", names.join(", ")))
    }

    /// Stores copies of these files under these names in one step, and removes the least recently used products of
    /// the same kind.
    fn keep(&self, files: &[(&str, &Path)]) -> anyhow::Result<()> {
        let fresh = self.kind.join(format!("{}.new", std::process::id()));
        fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
        for (name, from) in files {
            fs::copy(from, fresh.join(name))
                .with_context(|| format!("cannot keep {}", from.display()))?;
        }
        fs::write(fresh.join(USED), "")?;
        if self.directory.exists() {
            fs::remove_dir_all(&self.directory)?;
        }
        fs::rename(&fresh, &self.directory)
            .with_context(|| format!("cannot make {}", self.directory.display()))?;
        self.forget_oldest();
        Ok(())
    }

    fn forget_oldest(&self) {
        let entries = fs::read_dir(&self.kind).into_iter().flatten().flatten();
        let mut used: Vec<_> = entries
            .map(|entry| {
                let time = fs::metadata(entry.path().join(USED)).and_then(|mark| mark.modified());
                (time.ok(), entry.path())
            })
            .collect();
        used.sort();
        let surplus = used.len().saturating_sub(KEPT_PRODUCTS);
        for (_, path) in used.drain(..surplus) {
            // A product that cannot be removed only costs disk space.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// The file in a product whose modification time is the time of the product's last use.
const USED: &str = ".used";

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_product_is_made_once_and_the_oldest_of_its_kind_are_forgotten() {
        let kind = std::env::temp_dir().join(format!("hearth-products-{}", std::process::id()));
        let product = |name: &str| Product {
            kind: kind.clone(),
            directory: kind.join(name),
        };
        let source = std::env::temp_dir().join(format!("hearth-made-{}", std::process::id()));
        fs::write(&source, "made").unwrap();
        for number in 0..KEPT_PRODUCTS + 2 {
            let product = product(&number.to_string());
            assert_eq!(product.files(&["a"]), None);
            product.keep(&[("a", &source)]).unwrap();
            let files = product.files(&["a"]).unwrap();
            assert_eq!(fs::read_to_string(&files[0]).unwrap(), "made");
            // If a file is missing, the product does not exist.
            assert_eq!(product.files(&["a", "b"]), None);
        }
        assert_eq!(fs::read_dir(&kind).unwrap().count(), KEPT_PRODUCTS);
        assert_eq!(product("0").files(&["a"]), None);
        let last = product(&(KEPT_PRODUCTS + 1).to_string());
        let again = last.files_or(&["a"], "test", || bail!("it is made already"));
        assert!(again.is_ok());
        fs::remove_dir_all(&kind).unwrap();
        fs::remove_file(&source).unwrap();
    }
}
