//! What the steps of a boot do to the machine: one file a topic. Nothing here decides what comes next.

pub mod clock;
pub mod data;
pub mod disk;
pub mod groups;
pub mod loopback;
pub mod mounts;
pub mod program;
pub mod pstore;
pub mod root;
pub mod seed;
pub mod settings;
pub mod sysctl;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hearth_sys::watchdog::Watchdog;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// A file or directory.
    #[error("cannot {attempt} {}", path.display())]
    File {
        /// What was tried.
        attempt: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A call that has no file.
    #[error("cannot {attempt}")]
    Call {
        /// What was tried.
        attempt: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A program that was run for a step.
    #[error("{program} {ended}")]
    Program {
        /// Its name.
        program: String,
        /// How it ended.
        ended: String,
    },
    /// The disk's table.
    #[error("{0}")]
    Disk(String),
    /// Something that has to be there is not.
    #[error("{0}")]
    Missing(String),
}

/// What goes wrong with a file, for `map_err`.
pub(crate) fn file(
    attempt: &'static str,
    path: impl AsRef<Path>,
) -> impl FnOnce(io::Error) -> ActError {
    let path = path.as_ref().to_owned();
    move |source| ActError::File {
        attempt,
        path,
        source,
    }
}

/// An error with what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push_str(": ");
        told.push_str(&error.to_string());
        cause = error.source();
    }
    told
}

/// The hardware's watchdog, if there is one, fed by whoever does something that takes long.
#[derive(Debug, Default)]
pub struct Feeder {
    watchdog: Option<Watchdog>,
}

impl Feeder {
    /// How soon the hardware bites who hangs. The Raspberry Pi's can do no more than 15 seconds.
    const BITES_AFTER: Duration = Duration::from_secs(15);

    /// Opens and starts it.
    pub fn start(&mut self) -> Result<(), ActError> {
        const PLACE: &str = "/dev/watchdog";
        let mut watchdog = Watchdog::open(Path::new(PLACE)).map_err(file("open", PLACE))?;
        // One that keeps a time of its own is a watchdog all the same.
        let _ = watchdog.set_timeout(Self::BITES_AFTER);
        watchdog.feed().map_err(file("feed", PLACE))?;
        self.watchdog = Some(watchdog);
        Ok(())
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.watchdog.is_some()
    }

    /// Feeds it.
    pub fn feed(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            // What cannot be fed bites.
            let _ = watchdog.feed();
        }
    }
}

/// A file's text, if it is there and no longer than `longest`.
pub(crate) fn text(path: impl AsRef<Path>, longest: u64) -> Option<String> {
    String::from_utf8(bytes(path, longest)?).ok()
}

/// A file's bytes, if it is there and no longer than `longest`.
pub(crate) fn bytes(path: impl AsRef<Path>, longest: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    let count = file.take(longest + 1).read_to_end(&mut bytes).ok()?;
    (count as u64 <= longest).then_some(bytes)
}

/// Replaces a file as a whole: whoever reads it sees the old or the new, also after a cut of power.
pub fn replace(path: impl AsRef<Path>, content: &[u8]) -> Result<(), ActError> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = path.as_ref();
    let beside = path.with_extension("new");
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut new = options.open(&beside).map_err(file("open", &beside))?;
    new.write_all(content)
        .and_then(|()| new.sync_all())
        .map_err(file("write", &beside))?;
    fs::rename(&beside, path).map_err(file("replace", path))?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(file("sync", parent))
}
