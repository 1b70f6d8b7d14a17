//! Loads manifests from files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hearth_manifest::{Faults, Manifest, Missing, Parsed, parse};

use crate::secret::SecretError;

/// Maximum number of bytes that are read. The parser allows less, and reports a text that is too long.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Why a manifest cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the manifest {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The path leads to a directory, a pipe or a device.
    #[error("the manifest {0} is not a file")]
    NotAFile(PathBuf),
    /// The manifest is not valid; each fault is on its own line.
    #[error("{0}")]
    Faults(Faults),
    /// A function's program does not exist or cannot be executed.
    #[error("functions.{function}.binary: {path} {what}")]
    Binary {
        /// The function.
        function: String,
        /// The path of the program.
        path: PathBuf,
        /// What is wrong with the program.
        what: &'static str,
    },
    /// A function's sandbox would give access to the platform's own state.
    #[error(
        "functions.{function}.sandbox.{key}: {path} holds the platform's own state, {state}; \
         name what is in it instead"
    )]
    Sandbox {
        /// The function.
        function: String,
        /// `read` or `write`.
        key: &'static str,
        /// The path that the manifest names.
        path: PathBuf,
        /// The platform's state.
        state: PathBuf,
    },
    /// A secret that a function refers to has no value.
    #[error("functions.{function}.{}: secret `{}`: {}", .missing.place, .missing.name, .missing.why)]
    Secret {
        /// The function.
        function: String,
        /// The secret, and why it has no value.
        missing: Missing<SecretError>,
    },
}

/// Reads and validates a manifest.
pub fn load(path: &Path) -> Result<Parsed, LoadError> {
    let failed = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    // Checked before the file is opened: opening a pipe waits for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(LoadError::NotAFile(path.to_owned()));
    }
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text))
        .map_err(failed)?;
    parse(&path.display().to_string(), &text).map_err(LoadError::Faults)
}

/// The manifest's directory, where its relative paths start.
pub fn base(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Checks that no function's sandbox names the platform's state directory, a directory that contains it, or a path
/// in it.
pub fn check_sandboxes(manifest: &Manifest, base: &Path, state: &Path) -> Result<(), LoadError> {
    // Symbolic links are resolved, because they may lead elsewhere.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let state = real(state);
    for (name, function) in &manifest.functions {
        let sandbox = &function.sandbox;
        let read = sandbox.read.iter().map(|path| ("read", path));
        let write = sandbox.write.iter().map(|path| ("write", path));
        for (key, path) in read.chain(write) {
            let path = base.join(path);
            let named = real(&path);
            if state.starts_with(&named) || named.starts_with(&state) {
                return Err(LoadError::Sandbox {
                    function: name.clone(),
                    key,
                    path,
                    state,
                });
            }
        }
    }
    Ok(())
}

/// Checks that every function's program exists and is executable.
pub fn check_binaries(manifest: &Manifest, base: &Path) -> Result<(), LoadError> {
    for (name, function) in &manifest.functions {
        let path = base.join(&function.binary);
        let what = match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                "does not exist; `hearth up --build` builds it"
            }
            Err(_) => "cannot be looked at",
            Ok(file) if !file.is_file() => "is not a file",
            Ok(file)
                if std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o111 == 0 =>
            {
                "is not executable"
            }
            Ok(_) => continue,
        };
        return Err(LoadError::Binary {
            function: name.clone(),
            path,
            what,
        });
    }
    Ok(())
}
