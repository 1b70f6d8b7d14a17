//! The directory in which a platform keeps its lock, its control socket, its log, its self-signed certificate and the
//! versions that it accepted. It is `.hearth/NAME` beside the manifest, where NAME is the manifest's file name, unless
//! another directory is given.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use hearth_sys::lock::{Lock, Taken, take};

/// The name of the directory beside the manifests. It contains one state directory for each of them.
const PARENT: &str = ".hearth";

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another platform runs from the same manifest.
    #[error(
        "a platform runs from this manifest already (process {holder}); \
         stop it, or see it with `hearth status`"
    )]
    Running {
        /// Its process id, as the lock file contains it.
        holder: String,
    },
    /// The directory cannot be created or written.
    #[error("cannot use the state directory {path}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
}

/// The paths of one platform's state.
#[derive(Clone, Debug)]
pub struct StateDir {
    own: PathBuf,
    /// Whether it lies beside the manifest, in one directory with the state of other manifests.
    beside: bool,
}

/// The locked state directory of a running platform. Dropping it removes the control socket and the lock, and the
/// directory itself if nothing must be kept.
#[derive(Debug)]
pub struct Held {
    directory: StateDir,
    lock: Option<Lock>,
}

impl StateDir {
    /// The directory that belongs to this manifest.
    pub fn of(manifest: &Path) -> StateDir {
        let beside = match manifest.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = manifest.file_name().unwrap_or(OsStr::new("edge.yaml"));
        StateDir {
            own: beside.join(PARENT).join(name),
            beside: true,
        }
    }

    /// Exactly this directory.
    pub fn at(directory: PathBuf) -> StateDir {
        StateDir {
            own: directory,
            beside: false,
        }
    }

    /// Exactly this directory, or if it is `None` the one that belongs to this manifest.
    pub fn at_or_of(directory: Option<&Path>, manifest: &Path) -> StateDir {
        match directory {
            Some(directory) => StateDir::at(directory.to_owned()),
            None => StateDir::of(manifest),
        }
    }

    /// The directory that contains the state of all manifests beside this one, or the given directory.
    pub fn whole(&self) -> &Path {
        match self.beside {
            true => self.own.parent().unwrap_or(&self.own),
            false => &self.own,
        }
    }

    /// The file that keeps all state directories out of repositories.
    fn ignore(&self) -> PathBuf {
        self.own.with_file_name(".gitignore")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.own.join("control.sock")
    }

    /// Where values of secrets are kept.
    pub fn secrets(&self) -> PathBuf {
        self.own.join("secrets")
    }

    /// The file of the functions' user ids, which the platform assigns if it runs as root.
    pub fn users(&self) -> PathBuf {
        self.own.join("users.json")
    }

    /// Where the log is kept.
    pub fn log(&self) -> PathBuf {
        self.own.join("log")
    }

    /// Where the self-signed certificate is kept.
    pub fn tls(&self) -> PathBuf {
        self.own.join("tls")
    }

    /// Where accepted versions and their programs are kept.
    pub fn versions(&self) -> PathBuf {
        self.own.join("versions")
    }

    /// Creates and locks the directory, and removes the control socket that a dead platform left behind.
    pub fn hold(self) -> Result<Held, StateError> {
        let failed = |source| StateError::Io {
            path: self.own.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.own)
            .map_err(failed)?;
        let lock = match take(&self.own.join("lock")).map_err(failed)? {
            Taken::Ours(lock) => lock,
            Taken::Held(holder) => return Err(StateError::Running { holder }),
        };
        if self.beside && !self.ignore().exists() {
            fs::write(self.ignore(), "*\n").map_err(failed)?;
        }
        match fs::remove_file(self.socket()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        Ok(Held {
            directory: self,
            lock: Some(lock),
        })
    }
}

impl Held {
    /// The directory.
    pub fn directory(&self) -> &StateDir {
        &self.directory
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.directory.socket());
        drop(self.lock.take());
        let kept = [
            self.directory.tls(),
            self.directory.log(),
            self.directory.users(),
            self.directory.versions(),
        ];
        if kept.iter().any(|path| path.exists()) {
            return;
        }
        // Nothing must be kept. Removing a directory fails, as intended, if it is not empty.
        let _ = fs::remove_dir(&self.directory.own);
        if !self.directory.beside {
            return;
        }
        let Some(parent) = self.directory.own.parent() else {
            return;
        };
        let others = fs::read_dir(parent).map_or(0, Iterator::count);
        if others == 1 {
            let _ = fs::remove_file(self.directory.ignore());
            let _ = fs::remove_dir(parent);
        }
    }
}
