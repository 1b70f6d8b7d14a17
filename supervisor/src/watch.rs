//! Files that may change under a running platform: what they were when they were read, and whether
//! they have settled to something else. Asks the file system, and does nothing else.
//!
//! Looks instead of being told: editors, compilers and `cp` change files in too many ways to be
//! followed, and one look at a few files a second costs nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks.
pub const LOOK: Duration = Duration::from_millis(500);

/// What tells one version of a file from another: a compiler makes a new file, an editor writes
/// into the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file that is there now; `None` if there is none.
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
    /// Of these files now.
    pub fn of(paths: impl IntoIterator<Item = PathBuf>) -> Stamps {
        let stamp = |path: PathBuf| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        };
        Stamps(paths.into_iter().map(stamp).collect())
    }

    /// These and those.
    pub fn and(mut self, others: Stamps) -> Stamps {
        self.0.extend(others.0);
        self
    }

    /// Of the same files now.
    fn again(&self) -> Stamps {
        Stamps::of(self.0.iter().map(|(path, _)| path.clone()))
    }
}

/// Decides when files have changed and settled.
#[derive(Debug, Default)]
pub struct Watch {
    /// What is served, or was refused.
    known: Stamps,
    last: Option<Stamps>,
}

impl Watch {
    /// From now on this is known, and only what differs from it is news.
    pub fn know(&mut self, known: Stamps) {
        self.known = known;
        self.last = None;
    }

    /// These were looked at and are no good; `missing` is what they wait for.
    pub fn refuse(&mut self, missing: Option<PathBuf>) {
        let paths = self.known.0.iter().map(|(path, _)| path.clone());
        self.know(Stamps::of(paths.chain(missing).collect::<Vec<_>>()));
    }

    /// Looks; `true` once what changed has been the same at two looks in a row.
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
