//! A lock file that says "one of us at a time" and disappears with its holder.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// A held lock; dropping it removes the file and lets the next one in.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    // Holds the lock until after `drop` has removed the path.
    _file: Flock<File>,
}

/// What trying for a lock found.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Ours(Lock),
    /// Somebody holds it; what they wrote into it (their process id), as far as it can be read.
    Held(String),
}

/// Tries for the lock at `path` and writes this process's id into it. The kernel lets go of it when
/// its holder dies, so a file left behind by a dead one is simply taken over.
pub fn take(path: &Path) -> io::Result<Taken> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                return Ok(Taken::Held(holder.trim().to_owned()));
            }
            Err((_, errno)) => return Err(errno.into()),
        };
        // The last holder may have removed the path between our open and our lock: then this lock
        // is on a file that nobody else can find.
        let same = std::fs::metadata(path).is_ok_and(|now| {
            file.metadata()
                .is_ok_and(|ours| (ours.dev(), ours.ino()) == (now.dev(), now.ino()))
        });
        if same {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())?;
            return Ok(Taken::Ours(Lock {
                path: path.to_owned(),
                _file: file,
            }));
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while still locked, so that nobody takes a lock on a path about to vanish.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it_and_gets_it_afterwards() {
        let path = std::env::temp_dir().join(format!("hearth-lock-{}", std::process::id()));
        let Taken::Ours(lock) = take(&path).unwrap() else {
            panic!("held by nobody")
        };
        match take(&path).unwrap() {
            Taken::Held(holder) => assert_eq!(holder, std::process::id().to_string()),
            Taken::Ours(_) => panic!("taken twice"),
        }
        drop(lock);
        assert!(!path.exists());
        assert!(matches!(take(&path).unwrap(), Taken::Ours(_)));
    }
}
