//! Watches files that may change under a running platform: compares them with the state in which they were read, and
//! waits until a change has settled. Only reads the file system.
//!
//! It polls instead of using notifications: editors, compilers and `cp` change files in too many ways to follow, and
//! polling a few files twice a second costs next to nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Interval between two polls.
pub const LOOK: Duration = Duration::from_millis(500);

/// Distinguishes versions of a file, whether a compiler replaces the file or an editor writes into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file as it is now; `None` if there is none.
    pub fn of(path: &Path) -> Option<Stamp> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            len: meta.len(),
            changed: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

/// Files and their stamps at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

impl Stamps {
    /// The stamps of these files as they are now.
    pub fn of(paths: impl IntoIterator<Item = PathBuf>) -> Stamps {
        let stamp = |path: PathBuf| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        };
        Stamps(paths.into_iter().map(stamp).collect())
    }

    /// Adds other stamps.
    pub fn and(mut self, others: Stamps) -> Stamps {
        self.0.extend(others.0);
        self
    }

    /// The stamps of the same files as they are now.
    fn again(&self) -> Stamps {
        Stamps::of(self.0.iter().map(|(path, _)| path.clone()))
    }
}

/// Decides when files have changed and settled.
#[derive(Debug, Default)]
pub struct Watch {
    /// The state that is served, or that was rejected.
    known: Stamps,
    last: Option<Stamps>,
}

impl Watch {
    /// Sets the known state. Only a difference from it counts as a change.
    pub fn know(&mut self, known: Stamps) {
        self.known = known;
        self.last = None;
    }

    /// The files were read and rejected: their current state is known from now on. `missing` is a file
    /// whose absence was the reason, if there is one.
    pub fn refuse(&mut self, missing: Option<PathBuf>) {
        let paths = self.known.0.iter().map(|(path, _)| path.clone());
        self.know(Stamps::of(paths.chain(missing).collect::<Vec<_>>()));
    }

    /// Polls the files. `true` if they have changed, and were the same in two polls in a row.
    pub fn look(&mut self) -> bool {
        self.judge(self.known.again())
    }

    fn judge(&mut self, now: Stamps) -> bool {
        if now == self.known {
            self.last = None;
            return false;
        }
        let settled = self.last.as_ref() == Some(&now);
        self.last = Some(now);
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(len: u64) -> Stamps {
        let stamp = Stamp {
            device: 1,
            inode: 1,
            len,
            changed: (0, 0),
        };
        Stamps(vec![("a".into(), Some(stamp))])
    }

    #[test]
    fn a_change_is_news_once_it_has_settled_and_a_change_back_is_none() {
        let mut watch = Watch::default();
        watch.know(stamps(1));
        let seen = [1, 2, 3, 3, 1, 2, 1].map(|len| watch.judge(stamps(len)));
        assert_eq!(seen, [false, false, false, true, false, false, false]);
    }
}
