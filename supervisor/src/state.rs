//! The directory where a running platform keeps its lock, its control socket, its log, its own
//! certificate and the versions it accepted: `.hearth/NAME` beside the manifest, NAME being the manifest's
//! file name.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use hearth_sys::lock::{Lock, Taken, take};

/// Name of the directory beside the manifests; each has one of its own in it.
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
        /// Its process id.
        holder: String,
    },
    /// It cannot be made or written.
    #[error("cannot use the state directory {path}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where things are for one manifest.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

/// The directory of a running platform; dropping it clears what must not stay.
#[derive(Debug)]
pub struct Held {
    directory: StateDir,
    lock: Option<Lock>,
}

impl StateDir {
    /// The one of this manifest.
    pub fn of(manifest: &Path) -> StateDir {
        let beside = match manifest.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = manifest.file_name().unwrap_or(OsStr::new("edge.yaml"));
        StateDir(beside.join(PARENT).join(name))
    }

    /// What holds the directories of all manifests beside this one.
    pub fn of_all_manifests(&self) -> &Path {
        self.0.parent().unwrap_or(&self.0)
    }

    /// Keeps all of it out of repositories.
    fn ignore(&self) -> PathBuf {
        self.0.with_file_name(".gitignore")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    /// Where values of secrets are kept.
    pub fn secrets(&self) -> PathBuf {
        self.0.join("secrets")
    }

    /// Which function is which user, where root gives each one of its own.
    pub fn users(&self) -> PathBuf {
        self.0.join("users.json")
    }

    /// Where the log is kept.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Where the self-signed certificate is kept.
    pub fn tls(&self) -> PathBuf {
        self.0.join("tls")
    }

    /// Where accepted versions and their programs are kept.
    pub fn versions(&self) -> PathBuf {
        self.0.join("versions")
    }

    /// Makes it and locks it, and removes what a dead platform left behind.
    pub fn hold(self) -> Result<Held, StateError> {
        let failed = |source| StateError::Io {
            path: self.0.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(failed)?;
        let lock = match take(&self.0.join("lock")).map_err(failed)? {
            Taken::Ours(lock) => lock,
            Taken::Held(holder) => return Err(StateError::Running { holder }),
        };
        if !self.ignore().exists() {
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
        // It keeps nothing. Removing directories fails, rightly, where another platform lives in them.
        let _ = fs::remove_dir(&self.directory.0);
        let Some(parent) = self.directory.0.parent() else {
            return;
        };
        let others = fs::read_dir(parent).map_or(0, Iterator::count);
        if others == 1 {
            let _ = fs::remove_file(self.directory.ignore());
            let _ = fs::remove_dir(parent);
        }
    }
}
